"""The record of a comparison: what was asked, what was measured, and the verdict.

A comparison is a pure function of its ledger (see `compare.assemble`): the table on the screen, the
`--json` object, the HTML report and a report made a year later all read this one record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier.compare.costs.cost import Cost
from luthier.compare.costs.prices import PriceBook
from luthier.compare.plan import Plan, Status
from luthier.ledger.provenance import Provenance
from luthier.models.backend import ModelFacts
from luthier.records import FitRecord, PairedTest, SampleScore, Score


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """The task, without its data. `leaks` is the leak report in plain form (dicts and lists).

    `chance` is the share of the commonest label in the test split (None where there are no labels).
    """

    name: str
    kind: str
    fingerprint: str
    instruction: str
    labels: tuple[str, ...]
    metric: str
    train_examples: int
    dev_examples: int
    test_examples: int
    chance: float | None = None
    leaks: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BaseFacts:
    """The base model every technique started from."""

    name: str
    fingerprint: str
    facts: ModelFacts
    capabilities: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OffTask:
    """Forgetting: mean loss (nats a token) on text off the task, of the base and after the fit."""

    before: float
    after: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Run:
    """One technique with one seed: fitted, then evaluated on the locked test split.

    `prompt_text` is the exact text the model read for the first test example. `path` is the saved
    adaptation, relative to the run folder. `dev_score` is what the technique reached on dev, where
    it said so; it, and never the test score, chooses the seed that `luthier ask` uses.
    """

    seed: int
    status: Status
    score: Score
    parse_rate: Score
    secondary: tuple[Score, ...] = ()
    sample_scores: tuple[SampleScore, ...] = ()
    fit: FitRecord = field(default_factory=FitRecord)
    cost: Cost = field(default_factory=Cost)
    settings: Mapping[str, Any] = field(default_factory=dict)
    train_examples: int | None = None
    dev_score: float | None = None
    off_task: OffTask | None = None
    prompt_text: str = ""
    path: str | None = None
    reason: str | None = None
    started: str | None = None
    finished: str | None = None


@dataclass(frozen=True, slots=True)
class TechniqueResult:
    """One technique over all its seeds: the line of the table.

    `status` is "finished" when every seed is. `score` is the mean over the seeds that finished, its
    95 % interval over examples and seeds. `cost` is of one fit, the mean over seeds (the maximum
    for memory). `part_of` names the recipe of which this row is an intermediate step. `best_seed`
    is the seed behind `path` (a folder that `luthier ask` and `luthier.load` open), chosen on
    dev.
    """

    technique: str
    slug: str
    family: str
    trained: bool
    status: Status
    score: Score
    parse_rate: Score
    seeds: tuple[Run, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)
    off_task: OffTask | None = None
    part_of: str | None = None
    best_seed: int | None = None
    path: str | None = None
    reason: str | None = None

    @property
    def best(self) -> Run | None:
        """The run behind `path`; None when nothing finished."""
        return next((s for s in self.seeds if s.seed == self.best_seed), None)

    def to_json(self) -> dict[str, Any]:
        """The row as `luthier compare --json` prints it."""
        return {
            "technique": self.technique,
            "status": self.status,
            "score": {
                "metric": self.score.metric,
                "value": self.score.value,
                "low": self.score.low,
                "high": self.score.high,
            },
            "parse_rate": self.parse_rate.value,
            "seeds": sum(1 for s in self.seeds if s.status == "finished"),
            "fit_seconds": self.cost.fit_seconds,
            "trainable_parameters": self.cost.trainable_parameters,
            "artifact_bytes": self.cost.artifact_bytes,
            "tokens_per_request": self.cost.tokens_per_request,
            "latency_ms": {"p50": self.cost.latency_p50_ms, "p95": self.cost.latency_p95_ms},
            "cost_per_1k_requests": self.cost.per_1k_requests,
            "path": self.path,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Quality when fitted on a share of the training split; smaller shares lie within larger
    ones."""

    technique: str
    fraction: float
    train_examples: int
    seed: int
    score: Score
    fit_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which one to use. `pick` is None when nothing finished.

    `because` and `next_steps` are plain sentences. `break_even_requests` is after how many requests
    the pick has paid for its fit against the best prompt (None: it never does, or it is a prompt);
    `break_even_requests_cached` is the same where prompt prefixes are cached.
    """

    pick: str | None
    because: str
    tied_with: tuple[str, ...] = ()
    best: str | None = None
    break_even_requests: int | None = None
    break_even_requests_cached: int | None = None
    next_steps: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The verdict as `luthier compare --json` prints it."""
        return {
            "pick": self.pick,
            "because": self.because,
            "tied_with": list(self.tied_with),
            "break_even_requests": self.break_even_requests,
            "break_even_requests_cached": self.break_even_requests_cached,
            "next_steps": list(self.next_steps),
            "best": self.best,
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything about one comparison. `folder` is where it lies on disk.

    `curve` has one point for each technique and share of the training examples, without that of
    all examples, which is the row's own run of the same seed.
    """

    id: str
    task: TaskFacts
    model: BaseFacts
    plan: Plan
    rows: tuple[TechniqueResult, ...]
    verdict: Verdict
    tests: tuple[PairedTest, ...] = ()
    curve: tuple[CurvePoint, ...] = ()
    prices: PriceBook = field(default_factory=PriceBook)
    provenance: Provenance = field(default_factory=Provenance)
    folder: str | None = None

    def row(self, technique: str) -> TechniqueResult:
        """The row of a technique, by the name in the table; KeyError when there is none."""
        for row in self.rows:
            if row.technique == technique:
                return row
        raise KeyError(technique)

    def to_json(self) -> dict[str, Any]:
        """The object `luthier compare --json` prints."""
        return {
            "task": self.task.name,
            "model": self.model.name,
            "rows": [row.to_json() for row in self.rows],
            "verdict": self.verdict.to_json(),
        }

    @staticmethod
    def load(run_folder: str | Path) -> Comparison:
        """Rebuild a comparison from the ledger in its run folder.

        Raises StorageError when the folder holds none.
        """
        from luthier.compare.assemble import load_comparison

        return load_comparison(Path(run_folder))
