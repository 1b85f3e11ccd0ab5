"""LoRA on rows of very different lengths, tokens a second, against TRL with its packing."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from benchmarks.cases import nano
from benchmarks.fitting import TrainingSetup, first_batches, run_steps
from benchmarks.machine import matmul_peak
from benchmarks.measure import Equality, Measurement, Ratio, Side, in_turn, seconds_of
from benchmarks.operations import floor, whole_rows
from benchmarks.peers import trainer, trl_sft
from luthier.engine import Session
from luthier.models.adaptation import Adaptation, Adapter
from luthier.task.task import Task
from luthier.training.adapter_fit import AdapterParameters
from luthier.training.objectives import LanguageModelLoss
from luthier.training.peft_config import adapter_config
from luthier.training.rows import TrainRow
from luthier.training.sequential_trials import SequentialTrials
from luthier.training.trainable import FROZEN_BASE

RANK, RATE, PACK, BATCH = 8, 1e-3, 512, 8


def variable_lengths(*, examples: int = 128) -> Sequence[Measurement]:
    """One epoch over rows of 20 to some 400 tokens; only real tokens count, padding does not."""
    setup = TrainingSetup.of(Task.load("routing"), tokens=1)
    rows = joined_rows(setup.rows, examples)
    tokens = sum(len(r.ids) for r in rows)
    backend = nano()
    choices = {
        (bf16, attention): _peer(rows[:24], bf16, attention).seconds
        for bf16 in (True, False)
        for attention in ("sdpa", "eager")
    }
    bf16, attention = min(choices, key=lambda c: choices[c])
    steps = len(rows) // BATCH
    peaks = [matmul_peak(torch.float32)]
    mine, theirs = in_turn(
        lambda k: _ours(setup, rows, steps), lambda k: _peer(rows, bf16, attention), rounds=3
    )
    peaks.append(matmul_peak(torch.float32))
    seconds = seconds_of(mine)
    needed = sum(
        whole_rows(backend.module.config, b, virtual=0)
        for b in first_batches(rows, steps, size=BATCH)
    )
    alone = gradient_gap(setup, _peer(rows[:1], bf16, attention).trainer)
    packed = gradient_gap(setup, theirs[-1][1].trainer)
    return [
        Ratio(
            job="LoRA, variable lengths",
            peer_name="TRL SFTTrainer, packing",
            unit="token",
            must_be=1.5,
            ours=Side(
                seconds,
                tokens,
                settings={"batch_size": BATCH, "steps": steps},
                notes={"floor": floor(needed, min(seconds), max(peaks))},
            ),
            peer=Side(
                tuple(found.seconds for _, found in theirs),
                tokens,
                settings={
                    "packing": "bfd",
                    "packed_tokens": PACK,
                    "packs": theirs[0][1].packs,
                    "bf16_autocast": bf16,
                    "attention": attention,
                    # Where this base ignores the bounds between packed rows, they see each other.
                    "gradient_gap_of_a_full_pack": packed,
                    "seconds_tried": {f"bf16 {b}, {a}": s for (b, a), s in choices.items()},
                },
            ),
            equality=Equality(
                "gradient of a pack of one row at the peer's trained weights, largest difference "
                "over largest value",
                alone,
                1e-3,
            ),
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


def gradient_gap(setup: TrainingSetup, trained: Any) -> float:
    """Largest difference over the largest value between the peer's gradient of a pack and ours of
    the same rows, at the weights that the peer trained."""
    import peft

    rows, theirs = trl_sft.one_pack(trained)
    weights = peft.get_peft_model_state_dict(trained.model)
    with nano().session(_fresh(setup)) as session:
        trials = _trials(session)
        trials.load(0, weights)
        loss = LanguageModelLoss().loss(rows, trials.logprobs(rows, [0])[0])
        loss.backward()  # type: ignore[no-untyped-call]
        mine = {n: p.grad for n, p in session.peft.named_parameters() if p.requires_grad}
        largest = max(float(g.abs().max()) for g in theirs.values())
        return max(float((mine[n] - g).abs().max()) for n, g in theirs.items()) / largest


def _ours(setup: TrainingSetup, rows: Sequence[TrainRow], steps: int) -> None:
    torch.manual_seed(0)
    with nano().session(_fresh(setup)) as session:
        run_steps(_trials(session), rows, (RATE,), steps=steps, seed=0, batch_size=BATCH)


def _fresh(setup: TrainingSetup) -> Adaptation:
    import peft

    config = adapter_config(
        peft.LoraConfig(
            task_type="CAUSAL_LM", r=RANK, lora_alpha=2 * RANK, target_modules="all-linear"
        )
    )
    return replace(setup.model.adaptation, adapter=Adapter(config, {}))


def _trials(session: Session) -> SequentialTrials:
    return SequentialTrials(session, [AdapterParameters(session.peft)], cost_factor=FROZEN_BASE)


def _peer(rows: Sequence[TrainRow], bf16: bool, attention: str) -> trl_sft.Trained:
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
