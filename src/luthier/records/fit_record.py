"""What a fit may spend, what it did, and how a model came about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

Number = TypeVar("Number", int, float)


@dataclass(frozen=True, slots=True)
class Budget:
    """What one fit may spend.

    `tokens` counts forward-token equivalents: scoring a token costs 1, training on it 2 with a
    frozen base (forward, and backward through activations) and 3 with trainable weights
    (arXiv:2001.08361, section 2.1). It is what makes a fit repeatable; `minutes` is turned into
    tokens with the measured speed of the model before anything starts.
    """

    tokens: int | None = None
    minutes: float | None = None


@dataclass(frozen=True, slots=True)
class FitStep:
    """One entry of a fit's history: a dev evaluation of a trial that trains, or of a candidate.

    A trained technique fills in `stage` ("search" or "train"), `trial`, `learning_rate`, `step` and
    `train_loss` (nats a token, the mean since the evaluation before). A search for prompts fills in
    `candidate` (its name), what it changed (`part`, `change`, `selection`, `instruction`), the
    `examples` it was scored on, `calibration` and `tokens_per_request`; a search of documents
    `mrr_at_10` and `recall_at_5`. `spent_tokens` counts from the start of the fit.
    """

    SPARSE: ClassVar[bool] = True  # stored without the fields that are None

    candidate: str | None = None
    part: str | None = None
    change: str | None = None
    selection: str | None = None
    instruction: str | None = None
    stage: str | None = None
    trial: int | None = None
    learning_rate: float | None = None
    step: int | None = None
    examples: int | None = None
    spent_tokens: int | None = None
    train_loss: float | None = None
    dev_score: float | None = None
    calibration: str | None = None
    tokens_per_request: float | None = None
    mrr_at_10: float | None = None
    recall_at_5: float | None = None


@dataclass(frozen=True, slots=True)
class TrainingFacts:
    """How a technique was trained. `learning_rate` is the winner's; `steps` are those of all
    trials together; `epochs` counts the winner's passes over the training examples;
    `dev_examples` is how many dev examples each dev evaluation scored."""

    learning_rate: float
    learning_rates_tried: tuple[float, ...]
    steps: int
    batch_size: int
    epochs: float
    dev_examples: int
    stopped_early: bool


@dataclass(frozen=True, slots=True)
class HelperUse:
    """What another model did for a fit: a teacher, or a writer of prompts. It is billed at its own
    price where it is `remote`; elsewhere its time is part of the fit's."""

    model: str
    remote: bool
    read_tokens: int
    written_tokens: int


@dataclass(frozen=True, slots=True)
class FitRecord:
    """What a fit did: filled in by the technique, kept with the model it returned.

    `dev_score` is what the technique reached on the dev split, the higher the better; the seed
    that answers is chosen by it. `training` is there for techniques that train, `parts` for
    recipes: one record a step. `settled` holds what the technique chose (a number of shots, say),
    for display only. `unread_documents` names documents that no index could take in, and why.
    `generated_tokens` is the part of `spent_tokens` that was generated, which providers bill apart.
    `helpers` are other models that had a part in it; their tokens are in `spent_tokens`, and not in
    `generated_tokens`.
    """

    fit_seconds: float | None = None
    spent_tokens: int | None = None
    generated_tokens: int | None = None
    trainable_parameters: int | None = None
    train_examples: int | None = None
    peak_memory_bytes: int | None = None
    dev_score: float | None = None
    training: TrainingFacts | None = None
    settled: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[FitStep, ...] = ()
    parts: tuple[StepRecord, ...] = ()
    unread_documents: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    helpers: tuple[HelperUse, ...] = ()

    @classmethod
    def of_recipe(cls, parts: Sequence[StepRecord]) -> FitRecord:
        """The record of a recipe: sums over its steps, history and dev score of the last."""
        fits = [part.fit for part in parts]
        return cls(
            fit_seconds=_sum([f.fit_seconds for f in fits]),
            spent_tokens=_sum([f.spent_tokens for f in fits]),
            generated_tokens=_sum([f.generated_tokens for f in fits]),
            trainable_parameters=_sum([f.trainable_parameters for f in fits]),
            train_examples=max((f.train_examples or 0 for f in fits), default=0),
            peak_memory_bytes=max((f.peak_memory_bytes or 0 for f in fits), default=0) or None,
            dev_score=parts[-1].dev_score,
            history=fits[-1].history,
            parts=tuple(parts),
            unread_documents=tuple(d for f in fits for d in f.unread_documents),
            notes=tuple(note for f in fits for note in f.notes),
            helpers=tuple(helper for f in fits for helper in f.helpers),
        )


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step of a recipe: the technique as it is written, what its fit did, the dev score of the
    model after it, and which slots of that model's adaptation are filled."""

    step: str
    fit: FitRecord
    dev_score: float | None = None
    filled: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lineage:
    """How a model was made: the technique, its settings, the seed, and its parent's lineage.

    `examples` holds the hashes of the examples that the fit could see (`Task.example_hashes`).
    """

    technique: str
    settings: Mapping[str, Any]
    seed: int
    fit: FitRecord = field(default_factory=FitRecord)
    parent: Lineage | None = None
    examples: tuple[str, ...] = ()

    @property
    def met(self) -> frozenset[str]:
        """The hashes of all examples that this fit and those before it could see."""
        before = frozenset() if self.parent is None else self.parent.met
        return before.union(self.examples)


def _sum(values: Sequence[Number | None]) -> Number | None:
    """The sum of what was measured; None where nothing was."""
    known = [value for value in values if value is not None]
    return sum(known[1:], known[0]) if known else None
