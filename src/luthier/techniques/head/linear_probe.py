"""Linear probe: a linear classifier on the states of the frozen base (Alain and Bengio 2016,
arXiv:1610.01644, section 3).

p(y | x) = softmax(W h(x) + b) with h(x) (H,) the state of one layer, of the last token or the mean
over the tokens, and W (L, H). Nothing flows back into the base: each example is read once.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from luthier.context import report_progress
from luthier.errors import BudgetError, CapabilityError, TechniqueError
from luthier.models.answering import render_for
from luthier.models.backend import PooledStates
from luthier.models.model import Model
from luthier.records import Budget, Capability, Example, FitRecord, FitStep, Lineage
from luthier.task.task import Task
from luthier.techniques.base import Card, Footprint, Technique, check_needs, settings_of
from luthier.techniques.search.token_budget import prompt_text
from luthier.techniques.setting_checks import check_choices, check_number, check_whole_numbers
from luthier.training.starting_prompt import starting_model

if TYPE_CHECKING:
    from luthier.models.adaptation import Head, Pooling
    from luthier.training.linear_classifier import LinearFit

CHUNK = 32
DEV_SHARE = 0.3  # of the budget, at most
PENALTIES = (0.01, 0.1, 1.0, 10.0)  # states are scaled to a spread of 1, which wants smaller ones
DEPTHS = (1 / 3, 1 / 2, 2 / 3, 5 / 6, 1.0)  # of the layers that are tried
POOLINGS: tuple[Pooling, ...] = ("last", "mean")


@dataclass(frozen=True)
class LinearProbe(Technique):
    """A linear head that reads the label off the base's own states.

    **Settings**

    - `layer`: whose states are read, from 1 to the number of layers (0: the embeddings); None tries
      five from a third of the way up and takes the best on dev.
    - `pooling`: the state of the "last" token, the "mean" over all tokens, or "auto": whichever
      does best on dev.
    - `penalty`: C of the logistic regression, the inverse of its penalty; None takes the best of
      four on dev.
    - `prompt`: "bare" (default) reads the input with the names of its columns, so that requests are
      short; "task" reads it under the task's own prompt.
    """

    layer: int | None = None
    pooling: Literal["auto", "last", "mean"] = "auto"
    penalty: float | None = None
    prompt: str = "bare"

    name: ClassVar[str] = "linear-probe"
    family: ClassVar[str] = "head"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.EMBEDDINGS})
    trained: ClassVar[bool] = True
    footprint: ClassVar[Footprint] = Footprint()
    card: ClassVar[Card] = Card(
        changes="the output layer: a linear classifier on the states of one layer; the base stays",
        needs="the states of the base, a list of labels, and from a few examples of each label",
        pays_when="the base understands the input and the answer is one of a few labels",
        costs="one pass over the examples; an artifact of a few kilobytes; the shortest prompt; it "
        "can answer with nothing but the labels it has seen",
        source="Alain and Bengio 2016, arXiv:1610.01644, section 3",
    )

    def __post_init__(self) -> None:
        check_choices(self, pooling=("auto", *POOLINGS))
        check_whole_numbers(self, optional=("layer",), layer=0)
        if self.penalty is not None:
            check_number(self, "penalty", above=0)

    def settled(self, record: FitRecord) -> LinearProbe | None:
        """With the layer, the pooling and the penalty that a fit chose."""
        chosen = record.settled
        if not {"layer", "pooling", "C"} <= chosen.keys():
            return None
        return replace(self, layer=chosen["layer"], pooling=chosen["pooling"], penalty=chosen["C"])

    def unmet_by_task(self, task: Task) -> str | None:
        """In words, that the task has no labels; None where it has."""
        return None if task.labels else "the task has no list of labels to choose from"

    def fit(self, model: Model, task: Task, *, budget: Budget, seed: int = 0) -> Model:
        """Read every example once, and fit the head whose layer, pooling and penalty do best on
        dev; where the budget does not pay for all examples, those that the seed draws.

        TechniqueError for a task without labels and for a layer that the base does not have,
        BudgetError where no example of train and dev can be read.
        """
        check_needs(self, model)
        reason = self.unmet_by_task(task)
        if reason is not None:
            raise TechniqueError(f"linear-probe: {reason}")
        began = time.perf_counter()
        layers = self._layers(model)
        start = starting_model(model, task, style=self.prompt).adapt(head=None)
        reader = _Reader(start, layers, _tokens(budget, model))
        rng = random.Random(seed)
        dev = reader.read(task.dev, rng, share=DEV_SHARE)
        train = reader.read(task.train, rng, share=1.0)
        if not train:
            raise BudgetError(
                f"linear-probe: {budget.tokens:,} tokens do not pay for reading one example",
                next_step="Give a larger budget.",
            )
        poolings = POOLINGS if self.pooling == "auto" else (self.pooling,)
        penalties = PENALTIES if self.penalty is None else (self.penalty,)
        head, fitted, history = _best_head(layers, poolings, penalties, (train, dev))
        record = FitRecord(
            fit_seconds=time.perf_counter() - began,
            spent_tokens=reader.spent,
            trainable_parameters=fitted.parameters,
            train_examples=len(train),
            dev_score=fitted.accuracy,
            settled={"layer": head.layer, "pooling": head.pooling, "C": fitted.c},
            history=history,
            notes=_notes(task, len(train), head.labels),
        )
        lineage = Lineage(
            self.name, settings_of(self), seed, record, model.lineage, task.example_hashes
        )
        return start.adapt(head=head, lineage=lineage)

    def _layers(self, model: Model) -> tuple[int, ...]:
        count = model.backend.facts.layers
        if count is None:
            raise CapabilityError(f"{model.backend.name} does not say how many layers it has")
        if self.layer is None:
            return tuple(sorted({max(1, round(depth * count)) for depth in DEPTHS}))
        if self.layer > count:
            raise TechniqueError(
                f"linear-probe: layer={self.layer}, and {model.backend.name} has {count} layers",
                next_step=f"Take 0 to {count}.",
            )
        return (self.layer,)


Read = list[tuple[Example, PooledStates]]


class _Reader:
    """Reads examples as long as the budget pays for them."""

    def __init__(self, model: Model, layers: tuple[int, ...], tokens: float) -> None:
        self.model, self.layers, self.tokens = model, layers, tokens
        self.spent = 0
        self._factor = 1.25  # tokens that a prompt takes, for each that was counted

    def read(self, examples: Sequence[Example], rng: random.Random, *, share: float) -> Read:
        """The states of the examples, all of them or, until `share` of the whole budget is spent,
        those that are drawn."""
        found: Read = []
        limit = share * self.tokens
        if self.spent + self._factor * sum(self._counted(examples)) > limit:
            examples = rng.sample(examples, len(examples))
        for begin in range(0, len(examples), CHUNK):
            report_progress(self.spent, self.tokens, f"read {begin} of {len(examples)} examples")
            chunk = list(examples[begin : begin + CHUNK])
            prompts, counted = render_for(self.model, chunk), self._counted(chunk)
            whole = len(chunk)
            while chunk and self.spent + self._factor * sum(counted[: len(chunk)]) > limit:
                chunk.pop()
            if not chunk:
                break
            states = self.model.backend.pooled_states(
                prompts[: len(chunk)], self.model.adaptation, layers=self.layers
            )
            real = sum(state.tokens for state in states)
            self.spent += real
            self._factor = max(self._factor, 1.05 * real / sum(counted[: len(chunk)]))
            found += zip(chunk, states, strict=True)
            if len(chunk) < whole:
                break
        return found

    def _counted(self, examples: Sequence[Example]) -> list[int]:
        count = self.model.backend.count_tokens
        return [count(prompt_text(p)) + 4 for p in render_for(self.model, examples)]


def _best_head(
    layers: tuple[int, ...],
    poolings: Sequence[Pooling],
    penalties: Sequence[float],
    read: tuple[Read, Read],
) -> tuple[Head, LinearFit, tuple[FitStep, ...]]:
    """The head that is right most often on dev, of equals the surest; and all that were tried.
    `read` is train and dev."""
    train, dev = read
    import numpy as np
    import torch

    from luthier.models.adaptation import Head
    from luthier.training.linear_classifier import fit_linear

    tried: list[tuple[LinearFit, Head]] = []
    history = []
    for pooling in poolings:
        for place, layer in enumerate(layers):
            x, held = (
                np.array([getattr(s, pooling)[place] for _, s in split] or [[]], np.float32)
                for split in (train, dev)
            )
            mean, scale = x.mean(0), x.std(0) + 1e-6
            fitted = fit_linear(
                ((x - mean) / scale, [e.target for e, _ in train]),
                ((held - mean) / scale if dev else x[:0], [e.target for e, _ in dev]),
                penalties=penalties,
            )
            # The scaling of the states goes into the weights.
            weight = torch.from_numpy(fitted.weight / scale)
            bias = torch.from_numpy(fitted.bias - (fitted.weight / scale) @ mean)
            tried.append((fitted, Head(weight, bias, fitted.labels, layer, pooling)))
            history.append(
                FitStep(
                    candidate=f"layer {layer}, {pooling}, C {fitted.c:g}",
                    examples=len(dev),
                    dev_score=fitted.accuracy,
                )
            )
    best, head = max(tried, key=lambda t: (t[0].accuracy or 0.0, -(t[0].loss or 0.0)))
    return head, best, tuple(history)


def _tokens(budget: Budget, model: Model) -> float:
    if budget.tokens is not None:
        return budget.tokens
    speed = model.backend.tokens_per_second() if budget.minutes is not None else None
    return float("inf") if not speed or budget.minutes is None else budget.minutes * 60 * speed


def _notes(task: Task, read: int, labels: Sequence[str]) -> tuple[str, ...]:
    notes = []
    if read < len(task.train):
        notes.append(f"The budget paid for {read:,} of {len(task.train):,} training examples.")
    unseen = [label for label in task.labels if label not in labels]
    if unseen:
        notes.append(f"It can never answer {', '.join(unseen)}: no example it read has that label.")
    return tuple(notes)
