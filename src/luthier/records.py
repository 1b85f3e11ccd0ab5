"""The facts: small frozen records that every room shares. No behaviour beyond arithmetic.

Units stand in the names. What was not measured is None, never zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, TypeVar

from luthier.content import Input, Usage, text_of

Number = TypeVar("Number", int, float)


class Capability(StrEnum):
    """What a backend gives and a technique needs."""

    TEXT = "text"
    LOGPROBS = "log-probabilities"
    EMBEDDINGS = "embeddings"
    GRADIENTS = "gradients"
    MIXTURES = "mixtures of prompts"
    IMAGES = "pictures"


class Kind(StrEnum):
    """What a task asks for."""

    CLASSIFY = "classify"
    GENERATE = "generate"
    EXTRACT = "extract"
    QUESTION_ANSWERING = "question-answering"
    CHAT = "chat"


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled item. `group` keeps related items on one side of a split.

    `input` is a text, parts (text and pictures) or the turns of a conversation; `text` is what it
    says in words. `context` is a passage that is shown with the input. `evidence` is the passage of
    the task's documents that holds the answer: no model sees it, it tells whether a search found
    it.
    """

    id: str
    input: Input
    target: str
    group: str | None = None
    context: str | None = None
    evidence: str | None = None

    @property
    def text(self) -> str:
        """The input as text, its pictures left out."""
        return text_of(self.input)


@dataclass(frozen=True, slots=True)
class Score:
    """A metric with its 95 % interval. `value` None: unmeasured."""

    metric: str
    value: float | None
    low: float | None = None
    high: float | None = None
    higher_is_better: bool = True


@dataclass(frozen=True, slots=True)
class SampleScore:
    """One example, what was answered, and what the scorer made of it (`value` in [0, 1] for most).

    `weight` is how much the value counts in the aggregate: 1, or the target's tokens for
    perplexity. `cut`: the answer did not end by itself and was cut at the limit of new tokens.
    """

    example_id: str
    input: str
    target: str
    raw: str
    prediction: str | None
    parseable: bool
    value: float
    group: str | None = None
    weight: float = 1.0
    cut: bool = False


@dataclass(frozen=True, slots=True)
class EvalResult:
    """One model on one split: the headline score, secondary ones, and every judged example.

    `met_examples` counts the examples that the fit of the model could see, None where that is not
    recorded. `latency_mean_ms` is over `timed_requests` single requests, each of which computes
    `label_tokens` beyond its prompt to rank the labels.

    `notes` says what befell the requests and bears on the score: inputs that were cut, answers that
    ended inside a thought, parameters that a server does not take.
    """

    score: Score
    parse_rate: Score
    secondary: tuple[Score, ...]
    sample_scores: tuple[SampleScore, ...]
    usage: Usage
    eval_seconds: float
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None
    met_examples: int | None = None
    latency_mean_ms: float | None = None
    timed_requests: int = 0
    label_tokens: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PairedTest:
    """A technique against the best on the same examples: `difference` is the metric of `first`
    minus that of `second`, the best, each the mean over its seeds.

    `low` and `high` are simultaneous: all intervals of one comparison hold together in 95 % of
    cases. `p_value` is that of this test alone, `p_adjusted` that for the whole family. `tied`:
    p_adjusted is 0.05 or more; exactly then the interval holds 0. `better` names the better one,
    None when tied. `examples` counts examples, `clusters` groups of them (equal where there are
    none), `seeds` the runs of each technique.
    """

    first: str
    second: str
    difference: float
    low: float | None
    high: float | None
    p_value: float
    p_adjusted: float
    tied: bool
    test: str
    examples: int
    better: str | None = None
    clusters: int | None = None
    seeds: tuple[int, int] = (1, 1)

    def to_json(self) -> dict[str, Any]:
        """The test as `luthier compare --json` prints it."""
        return {
            "technique": self.first,
            "best": self.second,
            "difference": self.difference,
            "low": self.low,
            "high": self.high,
            "p": self.p_value,
            "p_adjusted": self.p_adjusted,
            "tied": self.tied,
        }


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
    trials together; `epochs` counts passes over the training examples; `dev_examples` is how many
    dev examples each dev evaluation scored."""

    learning_rate: float
    learning_rates_tried: tuple[float, ...]
    steps: int
    batch_size: int
    epochs: float
    dev_examples: int
    stopped_early: bool


@dataclass(frozen=True, slots=True)
class FitRecord:
    """What a fit did: filled in by the technique, kept with the model it returned.

    `dev_score` is what the technique reached on the dev split, the higher the better; the seed
    that answers is chosen by it. `training` is there for techniques that train, `parts` for
    recipes: one record a step. `settled` holds what the technique chose (a number of shots, say),
    for display only. `unread_documents` names documents that no index could take in, and why.
    `generated_tokens` is the part of `spent_tokens` that was generated, which providers bill apart.
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
