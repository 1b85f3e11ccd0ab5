"""Fitting and scoring the references, each once, and keeping them in the ledger like runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from luthier import interrupts
from luthier.compare.comparison import Run
from luthier.compare.costs import Cost
from luthier.compare.references.plain_reference import PlainReference
from luthier.errors import InterruptedRun, LuthierError, StorageError
from luthier.ledger.provenance import luthier_version, now
from luthier.ledger.row_reading import read_row
from luthier.ledger.run_ledger import Ledger, PlannedRun, StoredRun
from luthier.records import Score
from luthier.serialization import digest, dumps

if TYPE_CHECKING:
    from luthier.task.task import Task

PURPOSE = "reference"  # of a run in the ledger
REMOTE = "remote"  # the part of a run whose price is a server's


@dataclass(frozen=True, slots=True)
class ReferenceRuns:
    """What all references of a comparison share. `limit` is how many test examples are scored."""

    ledger: Ledger
    comparison: str
    task: Task
    limit: int | None


def run_references(
    shared: ReferenceRuns,
    references: Sequence[PlainReference],
    on_end: Callable[[str, Run, bool], None],
) -> None:
    """Run those that are not in the ledger yet. `on_end` gets name, run, and whether it was there.

    One that fails keeps its reason and stops nothing.
    """
    planned = [(reference, _planned(shared, reference)) for reference in references]
    shared.ledger.add_planned_runs(run for _, run in planned)
    for reference, run in planned:
        stored = shared.ledger.run(run.key)
        before: Run | None = None
        if stored is not None and stored.status == "finished" and stored.result is not None:
            with suppress(StorageError):  # a damaged row: it is run again
                before = read_row(Run, stored.result, row=f"run {stored.key}")
        if before is not None:
            on_end(reference.name, before, True)
            continue
        made = _perform(shared, reference)
        shared.ledger.save_run(
            StoredRun(
                key=run.key,
                comparison=shared.comparison,
                purpose=PURPOSE,
                technique=reference.name,
                seed=0,
                status=made.status,
                started=made.started or now(),
                finished=made.finished,
                result=dumps(made),
                error=made.reason,
            )
        )
        on_end(reference.name, made, False)


def _planned(shared: ReferenceRuns, reference: PlainReference) -> PlannedRun:
    key = digest(
        {
            "luthier": luthier_version(),
            "task": shared.task.fingerprint,
            "reference": reference.name,
            "settings": dict(reference.settings()),
            "limit": shared.limit,
        }
    )
    part = REMOTE if reference.remote else ""
    return PlannedRun(shared.comparison, key, reference.name, PURPOSE, part, 0)


def _perform(shared: ReferenceRuns, reference: PlainReference) -> Run:
    from luthier.scoring.evaluation import evaluate_reference

    started = now()
    try:
        fitted = reference.fit(shared.task.without_test())
        result = evaluate_reference(fitted, shared.task, limit=shared.limit)
    except (InterruptedRun, StorageError):
        raise
    except Exception as error:
        if interrupts.requested(error):
            raise KeyboardInterrupt from error
        words = error.problem if isinstance(error, LuthierError) else str(error)
        unscored = Score("", None)
        return Run(
            seed=0, status="failed", score=unscored, parse_rate=unscored,
            reason=words or type(error).__name__, started=started, finished=now(),
        )  # fmt: skip
    record = fitted.record
    return Run(
        seed=0,
        status="finished",
        score=result.score,
        parse_rate=result.parse_rate,
        secondary=result.secondary,
        sample_scores=result.sample_scores,
        fit=record,
        cost=Cost(
            fit_seconds=record.fit_seconds,
            trainable_parameters=record.trainable_parameters,
            latency_p50_ms=result.latency_p50_ms,
            latency_p95_ms=result.latency_p95_ms,
            latency_mean_ms=result.latency_mean_ms,
            timed_requests=result.timed_requests or None,
        ),
        settings=dict(reference.settings()),
        train_examples=record.train_examples,
        dev_score=record.dev_score,
        started=started,
        finished=now(),
    )
