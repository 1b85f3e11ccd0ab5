"""LoRA on rows of very different lengths, tokens a second, against TRL with its packing."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import torch

from benchmarks.cases import nano
from benchmarks.fitting import Ground, run_steps
from benchmarks.measure import Equality, Line, Ratio, Side, in_turn, seconds_of
from benchmarks.peers import trainer, trl_sft
from luthier.models.adaptation import Adapter
from luthier.task.task import Task
from luthier.training.adapter_fit import adapter_config
from luthier.training.plain import PlainTrials
from luthier.training.rows import TrainRow
from luthier.training.trainable import FROZEN_BASE, AdapterParameters

RANK, RATE, PACK, BATCH = 8, 1e-3, 512, 8


def variable_lengths(*, examples: int = 128) -> Sequence[Line]:
    """One epoch over rows of 20 to some 400 tokens; only real tokens count, padding does not."""
    ground = Ground.of(Task.load("routing"), tokens=1)
    rows = joined_rows(ground.rows, examples)
    tokens = sum(len(r.ids) for r in rows)
    backend = nano()
    choices = {
        (bf16, attention): _peer(rows[:24], bf16, attention)[0]
        for bf16 in (True, False)
        for attention in ("sdpa", "eager")
    }
    bf16, attention = min(choices, key=lambda c: choices[c])
    steps = len(rows) // BATCH
    mine, theirs = in_turn(
        lambda k: _ours(ground, rows, steps), lambda k: _peer(rows, bf16, attention), rounds=3
    )
    return [
        Ratio(
            job="LoRA, variable lengths",
            peer_name="TRL SFTTrainer, packing",
            unit="token",
            must_be=1.5,
            ours=Side(seconds_of(mine), tokens, settings={"batch_size": BATCH, "steps": steps}),
            peer=Side(
                tuple(found[0] for _, found in theirs),
                tokens,
                settings={
                    "packing": "bfd",
                    "packed_tokens": PACK,
                    "packs": theirs[0][1][1],
                    "bf16_autocast": bf16,
                    "attention": attention,
                    "seconds_tried": {f"bf16 {b}, {a}": s for (b, a), s in choices.items()},
                },
            ),
            equality=Equality("real tokens trained on: ours less the peer's", 0.0, 0.0),
            setting={
                "model": backend.name,
                "rank": RANK,
                "rows": len(rows),
                "mean_row_tokens": tokens / len(rows),
                "longest_row_tokens": max(len(r.ids) for r in rows),
            },
        )
    ]


def joined_rows(rows: Sequence[TrainRow], examples: int) -> list[TrainRow]:
    """Rows of one to eight messages in a row, short ones the commonest; the last answer counts."""
    chooser = random.Random(0)
    made = []
    for _ in range(examples):
        count = min(8, 1 + int(chooser.expovariate(0.6)))
        parts = chooser.sample(list(rows), count)
        before = [i for part in parts[:-1] for i in part.prompt[: PACK // 9]]
        last = parts[-1]
        ids = before + last.ids
        made.append(TrainRow(ids[-PACK:], len(ids[-PACK:]) - len(last.answer)))
    return made


def _ours(ground: Ground, rows: Sequence[TrainRow], steps: int) -> None:
    import peft

    config = adapter_config(
        peft.LoraConfig(
            task_type="CAUSAL_LM", r=RANK, lora_alpha=2 * RANK, target_modules="all-linear"
        )
    )
    torch.manual_seed(0)
    adaptation = replace(ground.model.adaptation, adapter=Adapter(config, {}))
    with nano().session(adaptation) as session:
        trials = PlainTrials(session, [AdapterParameters(session.peft)], factor=FROZEN_BASE)
        run_steps(trials, rows, (RATE,), steps=steps, seed=0, batch_size=BATCH)


def _peer(rows: Sequence[TrainRow], bf16: bool, attention: str) -> tuple[float, int]:
    torch.manual_seed(0)
    return trl_sft.train(
        trainer.fresh(nano().module, attention=attention),
        nano().tokenizer,
        rows,
        rank=RANK,
        rate=RATE,
        packed_tokens=PACK,
        bf16=bf16,
    )
