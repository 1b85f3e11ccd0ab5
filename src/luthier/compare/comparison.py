"""The record of a comparison: what was asked, what was measured, and the verdict.

A comparison is a pure function of its ledger (see `compare.assemble`): the table in the terminal,
the `--json` object and the HTML report, even one that is made a year later, read this one record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier.compare.costs.cost import Cost
from luthier.compare.costs.prices import PriceBook
from luthier.compare.plan import TOLERANCE, UNDERTRAINED_BELOW, Plan, Status
from luthier.ledger.provenance import Provenance
from luthier.models.backend import ModelFacts
from luthier.records import FitRecord, PairedTest, SampleScore, Score


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """The task, without its data. `leaks` is the leak report as plain dicts and lists.

    `chance` is the share of the commonest label in the test split, None where there are no labels.
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
    """The base model that every technique started from."""

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

    `prompt_text` is the exact text that the model read for the first test example. `path` is the
    saved adaptation, relative to the run folder. `dev_score` is the technique's own score on dev,
    None where it has none; it, and never the test score, chooses the seed that `luthier ask` uses.
    `reason` says why a run did not finish, `notes` what befell the requests of its evaluation and
    bears on the score.
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
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TechniqueResult:
    """One technique over its `runs`, one for each seed: a row of the table.

    `status` is "finished" when every run is. `score` is the mean over the runs that finished; its
    95 % interval is over examples and seeds. `cost` is that of one fit, the mean over seeds (the
    maximum for memory). `part_of` names the recipe of which this is an intermediate step. `path` is
    a folder that `luthier ask` and `luthier.load` open; it holds the run of `best_seed`, which is
    chosen on dev. `epochs` is the mean number of passes of a fit over the training examples, None
    for a technique that trains nothing. `seeded`: a fit depends on its seed. With 95 % confidence
    the technique is at most `bound` below the truly best, in units of the metric; None where that
    is unknown.
    """

    technique: str
    slug: str
    family: str
    trained: bool
    status: Status
    score: Score
    parse_rate: Score
    runs: tuple[Run, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)
    off_task: OffTask | None = None
    part_of: str | None = None
    best_seed: int | None = None
    path: str | None = None
    reason: str | None = None
    seeded: bool = False
    bound: float | None = None
    epochs: float | None = None

    @property
    def undertrained(self) -> str | None:
        """In a sentence, that its fits saw the training examples less than three times and stopped
        for want of budget; None where they saw them often enough, or nothing was trained."""
        if self.epochs is None or self.epochs >= UNDERTRAINED_BELOW:
            return None
        return (
            f"{self.technique} is undertrained: a fit saw the training examples "
            f"{self.epochs:.1f} times, and its score says little about the technique."
        )

    @property
    def best(self) -> Run | None:
        """The run behind `path`; None when nothing finished."""
        return next((run for run in self.runs if run.seed == self.best_seed), None)

    @property
    def cut_answers(self) -> float | None:
        """The share of answers that were cut at the limit of new tokens, over all seeds; None where
        no examples are kept."""
        cut = [sample.cut for run in self.runs for sample in run.sample_scores]
        return sum(cut) / len(cut) if cut else None

    def to_json(self) -> dict[str, Any]:
        """The result as `luthier compare --json` prints it."""
        return {
            "technique": self.technique,
            "status": self.status,
            "score": {
                "metric": self.score.metric,
                "value": self.score.value,
                "low": self.score.low,
                "high": self.score.high,
            },
            "bound": self.bound,
            "parse_rate": self.parse_rate.value,
            "cut_answers": self.cut_answers,
            "seeds": sum(run.status == "finished" for run in self.runs),
            "epochs": self.epochs,
            "undertrained": self.undertrained is not None,
            "fit_seconds": self.cost.fit_seconds,
            "trainable_parameters": self.cost.trainable_parameters,
            "artifact_bytes": self.cost.artifact_bytes,
            "tokens_per_request": self.cost.tokens_per_request,
            "latency_ms": {"p50": self.cost.latency_p50_ms, "p95": self.cost.latency_p95_ms},
            "cost_per_1k_requests": self.cost.per_1k_requests,
            "cost_per_1k_interval": {
                "low": self.cost.per_1k_low,
                "high": self.cost.per_1k_high,
                "requests": self.cost.timed_requests,
            },
            "path": self.path,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """A point of a learning curve: the score when fitted on a share of the training split. Smaller
    shares are subsets of larger ones."""

    technique: str
    fraction: float
    train_examples: int
    seed: int
    score: Score
    fit_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which one to use. `pick` is None when nothing finished.

    `because` and `next_steps` are plain sentences. `best` has the highest mean score. After
    `break_even_requests` requests the pick has paid for its fit, compared with the best prompt
    (None: it never does, or it is a prompt); `break_even_requests_cached` is the same where prompt
    prefixes are cached. The pick is the cheapest technique within `tolerance` points of `best`;
    `tied_with` are those that the tests cannot tell from the best. With 95 % confidence the pick is
    at most `bound` below the truly best; `optimism` is by how much the best score is too good
    because it is the best of several. `reference` says how the pick stands to what needs no
    language model.
    """

    pick: str | None
    because: str
    tied_with: tuple[str, ...] = ()
    best: str | None = None
    break_even_requests: int | None = None
    break_even_requests_cached: int | None = None
    next_steps: tuple[str, ...] = ()
    reference: str = ""
    tolerance: float = TOLERANCE
    bound: float | None = None
    optimism: float | None = None

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
            "reference": self.reference,
            "tolerance": self.tolerance,
            "bound": self.bound,
            "optimism": self.optimism,
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything about one comparison. `folder` is its run folder.

    `curve` has a point for each technique and share of the training examples. The point for all
    examples is not among them: it is the run with the same seed in the technique's result.
    `references` are what needs no language model, and `reference_tests` the tests of every
    technique against each of them.
    """

    id: str
    task: TaskFacts
    model: BaseFacts
    plan: Plan
    results: tuple[TechniqueResult, ...]
    verdict: Verdict
    tests: tuple[PairedTest, ...] = ()
    curve: tuple[CurvePoint, ...] = ()
    prices: PriceBook = field(default_factory=PriceBook)
    provenance: Provenance = field(default_factory=Provenance)
    folder: str | None = None
    references: tuple[TechniqueResult, ...] = ()
    reference_tests: tuple[PairedTest, ...] = ()

    def result(self, technique: str) -> TechniqueResult:
        """The result of a technique, by its name in the table; KeyError when there is none."""
        for result in self.results:
            if result.technique == technique:
                return result
        raise KeyError(technique)

    def to_json(self) -> dict[str, Any]:
        """The object `luthier compare --json` prints."""
        return {
            "task": self.task.name,
            "model": self.model.name,
            "leaks": dict(self.task.leaks),
            "notes": list(self.task.notes),
            "rows": [result.to_json() for result in self.results],
            "references": [self._reference_json(result) for result in self.references],
            "tests": [test.to_json() for test in self.tests],
            "tolerance": self.verdict.tolerance,
            "verdict": self.verdict.to_json(),
        }

    def _reference_json(self, reference: TechniqueResult) -> dict[str, Any]:
        """A reference as a row, with each technique's difference from it."""
        row = reference.to_json()
        row["reference"] = row.pop("technique")
        row["techniques"] = {
            test.first: {
                "difference": test.difference,
                "low": test.low,
                "high": test.high,
                "p": test.p_adjusted,
                "better": test.better,
            }
            for test in self.reference_tests
            if test.second == reference.technique
        }
        return row

    @staticmethod
    def load(run_folder: str | Path) -> Comparison:
        """Rebuild a comparison from the ledger in its run folder.

        Raises StorageError when the folder holds none.
        """
        from luthier.compare.assemble import load_comparison

        return load_comparison(Path(run_folder))
