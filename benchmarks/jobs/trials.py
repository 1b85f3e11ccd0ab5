"""Eight learning rates of prompt tuning: a fit with its search, against PEFT without one.

Luthier's loop trains the trials in one pass and drops the worse half after every rung; the peer
runs each to its end, one after another, for as many steps as our winner took: half of the eight,
whose time a trial stands for all. Both choose by the loss on dev, and the sides are equal if their
best prompts have the same dev loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from benchmarks.cases import nano
from benchmarks.fitting import TrainingSetup, first_batches, steps_by_trial
from benchmarks.jobs.tuning import PEER, TOKENS, peer_run, peer_settings, setting
from benchmarks.machine import matmul_peak
from benchmarks.measure import Equality, Measurement, Ratio, Side, in_turn, seconds_of
from benchmarks.operations import after_inputs, floor, inputs_once
from benchmarks.peers import trainer as peer
from luthier.records import FitRecord
from luthier.task.task import Task
from luthier.techniques.soft.soft_prompt import trials_of
from luthier.training.fit import STEPS_WORTH_SEARCHING, Settings, fit
from luthier.training.parameters import SoftPromptParameters

# In units of the embedding table's scale.
RATES = (0.03, 0.06, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2)
# The peer runs these to their end, spread over what ours searches: each takes it as long as any.
PEER_RATES = (0.1, 0.3, 0.8, 1.2)
# Rows a step, on both sides: with 16 the peer's runs alone take a quarter of an hour.
BATCH = 4
# Nats a token of the right label. Chosen before the first run; seeds differ by more.
TOLERANCE = 0.05


def eight_trials() -> Sequence[Measurement]:
    """Two rounds of our whole fit, each beside two of the peer's runs."""
    setup = TrainingSetup.of(Task.load("routing"), tokens=TOKENS)
    budget = budget_tokens(setup)
    soft, record = search(setup, budget)
    assert record.training is not None
    steps = steps_by_trial(record.history)
    chosen = max(steps.values())
    settings, tried = peer_settings(setup, steps=chosen, batch_size=BATCH)
    losses: dict[float, float] = {}

    def theirs(k: int) -> float:
        seconds = 0.0
        for rate in PEER_RATES[k::2]:
            wrapped, spent = peer_run(setup, settings, rate=rate)
            seconds += spent
            losses[rate] = setup.dev_loss(setup.soft(peer.virtual_tokens(wrapped), "before"))
        return seconds

    peaks = [matmul_peak(torch.float32)]
    mine, kept = in_turn(lambda k: search(setup, budget), theirs, rounds=2)
    peaks.append(matmul_peak(torch.float32))
    seconds = seconds_of(mine)
    best = setup.dev_loss(setup.soft(soft, "after"))
    return [
        Ratio(
            job="8 prompt-tuning trials",
            peer_name=f"{PEER}, one after another",
            unit="search",
            must_be=10.0,
            ours=Side(
                seconds,
                1,
                settings={
                    "placement": "after",
                    "budget_tokens": budget,
                    "steps_by_rate": {RATES[k]: n for k, n in sorted(steps.items())},
                    "stopped_early": "successive halving",
                },
                notes={
                    "best_dev_loss": best,
                    "best_rate": record.training.learning_rate / setup.scale,
                    "floor": floor(_operations(setup, steps), min(seconds), max(peaks)),
                },
            ),
            # The time of train() alone, without building the Trainer.
            peer=Side(
                tuple(s for _, s in kept),
                2 / len(RATES),
                settings=settings.record(),
                notes={
                    "peer_trials_a_round": 2,
                    "best_dev_loss": min(losses.values()),
                    "dev_loss_by_rate": losses,
                    "seconds_of_four_steps": tried,
                },
            ),
            equality=Equality(
                "best dev loss of the trials, nats a token: ours less the peer's",
                best - min(losses.values()),
                TOLERANCE,
            ),
            setting={**setting(setup), "batch_size": BATCH, "rates": list(RATES)},
        )
    ]


def search(setup: TrainingSetup, budget: int) -> tuple[torch.Tensor, FitRecord]:
    """What `SoftPrompt.fit` does, scored by the loss on dev as the peer is: the winner's virtual
    tokens (1, P, H) and the record."""
    decoding = replace(setup.model.adaptation.decoding, labels=(), stop=())
    model = setup.model.adapt(decoding=decoding)
    trial_parameters = _trial_parameters(setup)
    with nano().session(model.adaptation) as session:
        fitted = fit(
            model,
            setup.task.without_test(),
            session=session,
            trainable=trials_of(session, trial_parameters, "after"),
            settings=Settings(tuple(r * setup.scale for r in RATES), BATCH),
            tokens=budget,
            seed=0,
            room=TOKENS,
        )
    return trial_parameters[fitted.winners[0]].soft().detach(), fitted.record


def budget_tokens(setup: TrainingSetup) -> int:
    """The least with which a fit searches among so many rates."""
    with nano().session(setup.model.adaptation) as session:
        trainable = trials_of(session, _trial_parameters(setup), "after")
        trainable.ready(setup.rows)
        once = trainable.standing(setup.rows)
        epoch = trainable.cost(setup.rows, [0]) - once
    steps = STEPS_WORTH_SEARCHING * len(RATES) + 1
    return int(once + steps * epoch * BATCH / len(setup.rows))


def _trial_parameters(setup: TrainingSetup) -> list[SoftPromptParameters]:
    return [SoftPromptParameters(setup.start, bottleneck=None) for _ in RATES]


def _operations(setup: TrainingSetup, steps: dict[int, int]) -> float:
    """The operations of training; dev evaluations are left out."""
    config: Any = nano().module.config
    batches = first_batches(setup.rows, max(steps.values()), size=BATCH)
    each = sum(after_inputs(config, b, virtual=TOKENS) for b in batches) / len(batches)
    distinct = {tuple(r.prompt): r for b in batches for r in b}
    return inputs_once(config, distinct.values()) + each * sum(steps.values())
