"""Our side of the training jobs: the engine's own loop for a stated number of steps.

Neither side evaluates dev while the clock runs; what was reached is measured afterwards, for both
by the same scoring code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import torch

import luthier
from benchmarks.cases import nano
from luthier.models.adaptation import Adaptation, VirtualTokens
from luthier.models.answering import label_continuations, render_for
from luthier.models.backend import ScoreRequest
from luthier.models.model import Model
from luthier.records import Example, FitStep
from luthier.task.task import Task
from luthier.techniques.soft.soft_prompt import trials_of
from luthier.training.loop import WARM_STEPS, Schedule, TrainingLoop
from luthier.training.parameters import SoftPromptParameters, Trainable
from luthier.training.preparation import starting
from luthier.training.prompt_tuning.initialization import from_words
from luthier.training.rows import TrainRow, batches, rows_for


@dataclass(frozen=True)
class TrainingSetup:
    """A task on nano, ready to train on: the model with its bare prompt, and the rows."""

    task: Task
    model: Model
    rows: list[TrainRow]
    start: torch.Tensor  # (P, H), where every soft prompt of the job begins
    scale: float  # root mean square of the embedding table, the unit of learning rates

    @classmethod
    def of(cls, task: Task, *, tokens: int) -> TrainingSetup:
        """`tokens` is the length of the soft prompts to come."""
        backend = nano()
        model = starting(luthier.models.Model(backend), task.without_test(), "bare")
        with backend.session(model.adaptation) as session:
            rows = rows_for(model, session, task.train, room=tokens)
            start = from_words(session, task, tokens, "labels", 0)
            scale = float(session.embeddings.weight.detach().float().pow(2).mean().sqrt())
        return cls(task, model, rows, start, scale)

    def dev_loss(self, adaptation: Adaptation) -> float:
        """Nats a token of the right label, mean over the dev split."""
        found = nano().score(
            [
                ScoreRequest(prompt, (continuation,))
                for prompt, continuation in zip(*self._questions(self.task.dev), strict=True)
            ],
            adaptation,
        )
        return -sum(r.logprobs[0] for r in found) / sum(r.tokens[0] for r in found)

    def soft(self, tensor: torch.Tensor, placement: str) -> Adaptation:
        """The bare prompt with trained virtual tokens (1, P, H)."""
        return self.model.adapt(
            soft_prompt=VirtualTokens(tensor.detach().clone(), placement)  # type: ignore[arg-type]
        ).adaptation

    def _questions(self, examples: Sequence[Example]):  # type: ignore[no-untyped-def]
        prompts = render_for(self.model, examples)
        labels = self.model.adaptation.decoding.labels
        texts = dict(zip(labels, label_continuations(self.model, prompts[0]), strict=True))
        return prompts, [texts[e.target] for e in examples]


def train_prompts(
    setup: TrainingSetup, rates: Sequence[float], *, placement: str, steps: int, seed: int = 0
) -> list[torch.Tensor]:
    """One soft prompt (1, P, H) for each rate (in units of the table's scale), all trained to the
    end for `steps` steps of 16 rows: nothing is stopped early, as nothing is at the peer."""
    trial_parameters = [SoftPromptParameters(setup.start, bottleneck=None) for _ in rates]
    with nano().session(setup.model.adaptation) as session:
        trainable = trials_of(session, trial_parameters, placement)
        run_steps(
            trainable, setup.rows, tuple(r * setup.scale for r in rates), steps=steps, seed=seed
        )
    return [parameters.soft().detach() for parameters in trial_parameters]


def steps_by_trial(history: Sequence[FitStep]) -> dict[int, int]:
    """How many steps each trial took, from a fit's record: those since the dev evaluation before
    count for every trial of the next one."""
    out: dict[int, int] = {}
    before = 0
    for step in sorted({entry.step or 0 for entry in history}):
        for entry in history:
            if entry.step == step and entry.trial is not None:
                out[entry.trial] = out.get(entry.trial, 0) + step - before
        before = step
    return out


def first_batches(rows: Sequence[TrainRow], steps: int, *, size: int = 16) -> list[list[TrainRow]]:
    """What the loop reads in so many steps with seed 0."""
    return list(islice(batches(rows, size=size, seed=0), steps))


def run_steps(
    trainable: Trainable, rows: Sequence[TrainRow], rates: tuple[float, ...], *,
    steps: int, seed: int, batch_size: int = 16,
) -> None:  # fmt: skip
    """So many steps of the one training loop for all trials, warmed up and decayed by steps as the
    peer's are. A budget in tokens would buy one trial another number of them than eight."""
    trainable.ready(rows)
    fit = TrainingLoop(
        trainable, rows=rows, evaluate_dev=lambda trials: ([0.0] * len(trials), 0), seed=seed,
        schedule=Schedule(tokens=1, candidates=(rates,), batch_size=batch_size),
    )  # fmt: skip
    fit.at.live = list(range(len(rates)))
    fit.optimisers = {k: fit._optimiser(k) for k in fit.at.live}
    for step, batch in enumerate(islice(batches(rows, size=batch_size, seed=seed), steps)):
        fit._step(batch, min(1.0, (step + 1) / WARM_STEPS) * (1.0 - step / steps))
