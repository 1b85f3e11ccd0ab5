"""Prompt tuning on nano against PEFT under the Trainer: one prompt, and long inputs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

import luthier
from benchmarks.cases import nano, words
from benchmarks.fitting import TrainingSetup, first_batches, train_prompts
from benchmarks.machine import matmul_peak
from benchmarks.measure import Equality, Measurement, Ratio, Side, in_turn, seconds_of
from benchmarks.operations import floor, tuned_after, whole_rows
from benchmarks.peers import trainer as peer
from luthier.task.task import Task

PEER = "PEFT + transformers Trainer"
TOKENS, BATCH = 20, 16
# In units of the embedding table's scale. Ours after 20 steps at 0.3, 0.6, 1 and 1.5: dev losses of
# 2.92, 2.63, 2.56 and 3.07. The peer's rate is the better of two, tried off the clock.
PEER_RATE, PEER_RATES, AFTER_RATE = 0.3, (0.3, 1.0), 1.0


def same_dev_loss() -> Sequence[Measurement]:
    """The peer trains for 40 steps; we take the fewest steps that reach its dev loss."""
    setup = TrainingSetup.of(Task.load("routing"), tokens=TOKENS)
    settings, tried = peer_settings(setup, steps=40)
    reached = {}
    for rate in PEER_RATES:
        wrapped, _ = peer_run(setup, settings, rate=rate)
        reached[rate] = setup.dev_loss(setup.soft(peer.virtual_tokens(wrapped), "before"))
    peer_rate = min(reached, key=lambda r: reached[r])
    target = reached[peer_rate]
    steps, loss = _fewest_steps(setup, target)
    peaks = [matmul_peak(torch.float32)]
    mine, theirs = in_turn(
        lambda k: train_prompts(setup, [AFTER_RATE], placement="after", steps=steps),
        lambda k: peer_run(setup, settings, rate=peer_rate)[1],
        rounds=2,
    )
    peaks.append(matmul_peak(torch.float32))
    counted = _counted(setup, steps, min(seconds_of(mine)), max(peaks))
    return [
        Ratio(
            job="prompt tuning to the same dev loss",
            peer_name=PEER,
            unit="fit",
            must_be=4.0,
            ours=Side(
                seconds_of(mine),
                1,
                settings={"placement": "after", "steps": steps, "rate": AFTER_RATE},
                notes={"dev_loss": loss, "floor": counted["floor"]},
            ),
            # The time of train() alone, without building the Trainer.
            peer=Side(
                tuple(s for _, s in theirs),
                1,
                settings=replace(settings, learning_rate=peer_rate * setup.scale).record(),
                notes={
                    "dev_loss": target,
                    "dev_loss_by_rate": reached,
                    "seconds_of_four_steps": tried,
                },
            ),
            equality=Equality("dev loss, nats a token: ours less the peer's", loss - target, 0.0),
            setting=setting(setup),
        )
    ]


def long_inputs() -> Sequence[Measurement]:
    """Inputs of 400 tokens: ours stand after the input, whose keys and values are computed once.
    Beside the 20 virtual tokens that are asked for, the 8 that a soft prompt has by default."""
    task = _long_task(64)
    setup = TrainingSetup.of(task, tokens=TOKENS)
    found = peer_settings(setup, steps=len(setup.rows) // BATCH)
    fewer = TrainingSetup.of(task, tokens=8)
    return [
        _long(setup, *found, must_be=20.0, rounds=2),
        _long(fewer, *found, must_be=None, rounds=1),
    ]


def _long(
    setup: TrainingSetup, settings: peer.Settings, tried: Any, *, must_be: float | None, rounds: int
) -> Ratio:
    """An epoch costs the peer the same every time, so that it runs one a round."""
    epochs = 20
    steps = settings.steps * epochs
    peaks = [matmul_peak(torch.float32)]
    mine, theirs = in_turn(
        lambda k: train_prompts(setup, [AFTER_RATE], placement="after", steps=steps),
        lambda k: peer_run(setup, settings, rate=PEER_RATE)[1],
        rounds=rounds,
    )
    peaks.append(matmul_peak(torch.float32))
    seconds = seconds_of(mine)
    return Ratio(
        job=f"suffix prompt tuning, {len(setup.start)} after 400 tokens, {epochs} epochs",
        peer_name=f"{PEER}, prompt before the input",
        unit="epoch",
        must_be=must_be,
        ours=Side(
            seconds,
            epochs,
            settings={"placement": "after", "steps": steps},
            notes={
                "dev_loss": setup.dev_loss(setup.soft(mine[0][1][0], "after")),
                **_counted(setup, steps, min(seconds), max(peaks)),
            },
        ),
        peer=Side(
            tuple(s for _, s in theirs),
            1,
            settings=settings.record(),
            notes={"peer_epochs": 1, "seconds_of_four_steps": tried},
        ),
        equality=Equality(
            "rows, answers, virtual tokens and steps an epoch are the same; the placements "
            "are two methods, so that losses are noted and not held equal",
            0.0,
            0.0,
        ),
        setting={**setting(setup), "examples": len(setup.rows)},
    )


def _counted(setup: TrainingSetup, steps: int, seconds: float, peak: float) -> dict[str, Any]:
    """The share of the machine, and how far ahead we could be by counting alone: were both sides
    to run at one speed, with nothing padded."""
    config, virtual = nano().module.config, len(setup.start)
    batches = first_batches(setup.rows, steps)
    ours = tuned_after(config, batches, virtual=virtual)
    theirs = sum(whole_rows(config, b, virtual=virtual, head=True) for b in batches)
    at_answers = sum(whole_rows(config, b, virtual=virtual) for b in batches)
    return {
        "floor": floor(ours, seconds, peak),
        "ceiling_by_operations": theirs / ours,
        "ceiling_by_operations_with_the_peers_head_at_answers_only": at_answers / ours,
    }


def peer_settings(
    setup: TrainingSetup, *, steps: int, batch_size: int = BATCH
) -> tuple[peer.Settings, Any]:
    """With the faster number format and attention, and what the tries took."""
    backend = nano()
    asked = peer.Settings(steps=steps, learning_rate=PEER_RATE * setup.scale, batch_size=batch_size)
    return peer.tuned(
        lambda attention: peer.prompt_tuning(
            peer.fresh(backend.module, attention=attention), setup.start
        ),
        backend.tokenizer,
        setup.rows,
        asked,
    )


def peer_run(setup: TrainingSetup, settings: peer.Settings, *, rate: float) -> tuple[Any, float]:
    """A PeftModel, trained, and the seconds of `train()`."""
    backend = nano()
    wrapped = peer.prompt_tuning(
        peer.fresh(backend.module, attention=settings.attention), setup.start
    )
    asked = replace(settings, learning_rate=rate * setup.scale)
    return wrapped, peer.train(wrapped, backend.tokenizer, setup.rows, asked)


def _fewest_steps(setup: TrainingSetup, target: float) -> tuple[int, float]:
    for steps in (12, 16, 18, 20, 22, 24, 28, 32, 40, 56, 80, 112, 160):
        trained = train_prompts(setup, [AFTER_RATE], placement="after", steps=steps)
        loss = setup.dev_loss(setup.soft(trained[0], "after"))
        if loss <= target:
            break
    return steps, loss


def _long_task(examples: int) -> Task:
    """Word lists of 400 tokens under ten labels: what they say does not matter to the clock."""
    chooser, vocabulary = random.Random(0), words(nano().tokenizer)
    labels = [chooser.choice(vocabulary).strip() for _ in range(10)]

    def pairs(n: int) -> list[tuple[str, str]]:
        return [
            ("".join(chooser.choices(vocabulary, k=396)).strip(), labels[i % 10]) for i in range(n)
        ]

    splits = {"train": pairs(examples), "dev": pairs(20), "test": pairs(20)}
    return luthier.Task.from_examples(splits, name="long", instruction="Label the text.")


def setting(setup: TrainingSetup) -> dict[str, Any]:
    """What the results file says of both sides."""
    lengths = [len(r.ids) for r in setup.rows]
    return {
        "model": "nano",
        "dtype": "float32 parameters, products in what was measured to be faster",
        "task": setup.task.name,
        "virtual_tokens": len(setup.start),
        "batch_size": BATCH,
        "mean_row_tokens": sum(lengths) / len(lengths),
    }
