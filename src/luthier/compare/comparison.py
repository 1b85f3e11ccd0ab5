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
from luthier.compare.met_test_sets import met_test_sets
from luthier.compare.plan import UNDERTRAINED_BELOW, Plan, Status
from luthier.compare.subject import BaseFacts, TaskFacts
from luthier.compare.verdict_record import Verdict
from luthier.ledger.provenance import Provenance
from luthier.probe.advice_record import AdviceOutcome
from luthier.records import FitRecord, PairedTest, SampleScore, Score
from luthier.table_forms import frame, html_table


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

    `technique` is the name of the row. Where there are several bases it ends in that of its `base`:
    "lora on nano-reader"; `plain_name` is the technique alone.

    `status` is "finished" when every run is. `score` is the mean over the runs that finished; its
    95 % interval is over examples and seeds. `cost` is that of one fit, the mean over seeds (the
    maximum for memory). `part_of` names the recipe of which this is an intermediate step. `path` is
    a folder that `luthier ask` and `luthier.load` open; it holds the run of `best_seed`, which is
    chosen on dev. `epochs` is the mean number of passes of a fit over the training examples, None
    for a technique that trains nothing; `epochs_bought` is how many its budget would have bought,
    which is more where fits ended early because dev stopped getting better. `seeded`: a fit depends
    on its seed. With 95 % confidence the technique is at most `bound` below the truly best, in
    units of the metric; None where that is unknown. `total_cost` is what the verdict compares: one
    fit and the price book's number of requests, in `Verdict.cost_unit`.
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
    epochs_bought: float | None = None
    total_cost: float | None = None
    base: str = ""

    @property
    def plain_name(self) -> str:
        """The technique without its base."""
        return self.technique.removesuffix(f" on {self.base}")

    @property
    def undertrained(self) -> bool:
        """Whether the budget of a fit bought less than three passes over the training examples: its
        score is no trial of the technique. False where nothing was trained."""
        bought = self.epochs if self.epochs_bought is None else self.epochs_bought
        return bought is not None and round(bought, 1) < UNDERTRAINED_BELOW

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
            "name": self.technique,
            "technique": self.plain_name,
            "base": self.base,
            "status": self.status,
            "score": {n: getattr(self.score, n) for n in ("metric", "value", "low", "high")},
            "bound": self.bound,
            "parse_rate": self.parse_rate.value,
            "cut_answers": self.cut_answers,
            "seeds": sum(run.status == "finished" for run in self.runs),
            "epochs": self.epochs,
            "undertrained": self.undertrained,
            "fit_seconds": self.cost.fit_seconds,
            "trainable_parameters": self.cost.trainable_parameters,
            "artifact_bytes": self.cost.artifact_bytes,
            "tokens_per_request": self.cost.tokens_per_request,
            "latency_ms": {"p50": self.cost.latency_p50_ms, "p95": self.cost.latency_p95_ms},
            "total_cost": self.total_cost,
            "cost_per_1k_requests": self.cost.per_1k_requests,
            "cost_per_1k_interval": {
                "low": self.cost.per_1k_low,
                "high": self.cost.per_1k_high,
                "requests": self.cost.timed_requests,
            },
            "path": self.path,
            "reason": self.reason,
            "notes": list(dict.fromkeys(note for run in self.runs for note in run.notes)),
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
class Refit:
    """The pick after the choice, fitted again on train and dev (`--refit`). `path` is a folder that
    `luthier ask` opens; `run` says how it went, and `reason` there why there is none."""

    technique: str
    run: Run
    path: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The refit as `luthier compare --json` prints it."""
        return {
            "technique": self.technique,
            "status": self.run.status,
            "score": self.run.score.value,
            "train_examples": self.run.train_examples,
            "seed": self.run.seed,
            "path": self.path,
            "reason": self.run.reason,
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything about one comparison. `folder` is its run folder.

    `bases` are what the techniques started from. `curve` has a point for each technique and share
    of the training examples. The point for all examples is not among them: it is the run with the
    same seed in the technique's result. `references` are what needs no language model, and
    `reference_tests` the tests of every technique against each of them. `advice_outcome` says
    whether the advice in the plan was right, None without one.
    """

    id: str
    task: TaskFacts
    bases: tuple[BaseFacts, ...]
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
    refit: Refit | None = None
    advice_outcome: AdviceOutcome | None = None

    @property
    def model(self) -> BaseFacts:
        """The base; the first of several."""
        return self.bases[0]

    @property
    def met_test_sets(self) -> dict[str, str]:
        """Whether each base has met the test set, where `luthier probe` looked."""
        return met_test_sets(self.folder, self.task, self.bases)

    def result(self, technique: str, base: str | None = None) -> TechniqueResult:
        """The result of a technique, by its name in the table ("lora on nano-reader"), or by its
        plain name and that of the base; KeyError when there is none."""
        for result in self.results:
            if (
                result.technique == technique
                if base is None
                else ((result.plain_name, result.base) == (technique, base))
            ):
                return result
        raise KeyError(technique if base is None else f"{technique} on {base}")

    def to_json(self) -> dict[str, Any]:
        """The object `luthier compare --json` prints."""
        return {
            "task": self.task.name,
            "model": ",".join(base.name for base in self.bases),
            "models": [base.name for base in self.bases],
            "leaks": dict(self.task.leaks),
            "notes": list(self.task.notes),
            **({"recordings": self.task.transcripts.to_json()} if self.task.transcripts else {}),
            "test_set_in_base": self.met_test_sets,
            "rows": [result.to_json() for result in self.results],
            "references": [self._reference_json(result) for result in self.references],
            "tests": [test.to_json() for test in self.tests],
            "tolerance": self.verdict.tolerance,
            "verdict": self._verdict_json(),
            "refit": None if self.refit is None else self.refit.to_json(),
            "advice": self._advice_json(),
        }

    def _advice_json(self) -> dict[str, Any] | None:
        """The ranking of the advice, and whether its first choice was right."""
        advice, outcome = self.plan.advice, self.advice_outcome
        if advice is None:
            return None
        return {
            "first": advice.first,
            "hit": None if outcome is None else outcome.hit,
            "reason": advice.lacks or (outcome.reason if outcome is not None else ""),
            "ranking": [
                {"technique": one.technique, "expected": one.expected, "reason": one.reason}
                for one in advice.ranking
            ],
        }

    def _verdict_json(self) -> dict[str, Any]:
        """The verdict, with the technique and the base of its pick apart."""
        verdict = self.verdict.to_json()
        if self.verdict.pick is None:
            return {**verdict, "technique": None, "base": None}
        pick = self.result(self.verdict.pick)
        return {**verdict, "technique": pick.plain_name, "base": pick.base or self.model.name}

    def to_rows(self) -> list[dict[str, Any]]:
        """A flat row for each technique and each reference; what was not measured is None."""
        kinds = (("technique", self.results), ("reference", self.references))
        return [_flat(result, kind) for kind, results in kinds for result in results]

    def to_frame(self) -> Any:
        """`to_rows` as a pandas frame. UserError without pandas."""
        return frame(self.to_rows())

    def _repr_html_(self) -> str:
        """The table and the verdict as a notebook shows them."""
        shown = ("technique", "kind", "value", "low", "high", "parse_rate", "fit_seconds",
                 "latency_p50_ms", "cost_per_1k_requests", "status")  # fmt: skip
        rows = [{name: row[name] for name in shown} for row in self.to_rows()]
        caption = f"{self.task.name} on {self.model.name}, {self.task.metric}"
        return html_table(rows, caption=caption, below=self.verdict.because, bold=self.verdict.pick)

    def _reference_json(self, reference: TechniqueResult) -> dict[str, Any]:
        """A reference as a row, with each technique's difference from it."""
        row = reference.to_json()
        row["reference"] = row.pop("technique")
        del row["name"], row["base"]
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


def _flat(result: TechniqueResult, kind: str) -> dict[str, Any]:
    """A result as one row of a table."""
    score, cost = result.score, result.cost
    return {
        "technique": result.technique,
        "kind": kind,
        "status": result.status,
        "metric": score.metric,
        "value": score.value,
        "low": score.low,
        "high": score.high,
        "bound": result.bound,
        "parse_rate": result.parse_rate.value,
        "seeds": sum(run.status == "finished" for run in result.runs),
        "epochs": result.epochs,
        "fit_seconds": cost.fit_seconds,
        "trainable_parameters": cost.trainable_parameters,
        "artifact_bytes": cost.artifact_bytes,
        "tokens_per_request": cost.tokens_per_request,
        "latency_p50_ms": cost.latency_p50_ms,
        "latency_p95_ms": cost.latency_p95_ms,
        "cost_per_1k_requests": cost.per_1k_requests,
        "path": result.path,
    }
