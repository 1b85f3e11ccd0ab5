"""The facts: small frozen records that every room shares. No behaviour beyond arithmetic.

Units stand in the names. What was not measured is None, never zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from luthier.content import Input, Usage, text_of


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
    says in words. `context` is a passage that is shown with the input. `evidence` is the passage of the task's
    documents that holds the answer: no model sees it, it tells whether a search found it.
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
    perplexity.
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


@dataclass(frozen=True, slots=True)
class EvalResult:
    """One model on one split: the headline score, secondary ones, and every judged example."""

    score: Score
    parse_rate: Score
    secondary: tuple[Score, ...]
    sample_scores: tuple[SampleScore, ...]
    usage: Usage
    eval_seconds: float
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None


@dataclass(frozen=True, slots=True)
class PairedTest:
    """Two techniques on the same examples: `difference` is the metric of `first` minus that of
    `second`, each the mean over its seeds.

    `low` and `high` are the 95 % interval of the difference, not corrected for the number of tests.
    `p_value` is of the test named in `test`; `p_adjusted` is corrected after Holm for all the tests
    made together. `tied`: p_adjusted is 0.05 or more, or the interval holds 0. `better` names the
    better one, None when tied. `examples` counts examples, `clusters` groups of them (equal where
    there are none), `seeds` the runs of each technique.
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
class FitRecord:
    """What a fit did: filled in by the technique, kept with the model it returned.

    `history` holds one mapping a step or trial (for instance step, train_loss, dev_score, lr).
    """

    fit_seconds: float | None = None
    spent_tokens: int | None = None
    trainable_parameters: int | None = None
    train_examples: int | None = None
    peak_memory_bytes: int | None = None
    chosen: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lineage:
    """How a model was made: the technique, its settings, the seed, and its parent's lineage."""

    technique: str
    settings: Mapping[str, Any]
    seed: int
    fit: FitRecord = field(default_factory=FitRecord)
    parent: Lineage | None = None
