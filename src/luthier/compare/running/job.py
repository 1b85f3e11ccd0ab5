"""One job: fit with one seed, save, score what was saved, write it to the ledger.

The ledger's row goes through "running" (nothing is kept yet), "fitted" (the artifact is safe) and
"finished". A kill in between loses at most what came after the last of these.
"""

from __future__ import annotations

import errno
import gc
import shutil
import traceback
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from luthier import interrupts
from luthier.compare.comparison import SeedRun
from luthier.compare.costs import Sampled
from luthier.compare.plan import Status
from luthier.compare.running.bench import Bench, HardCapReached, Heard, Job
from luthier.compare.running.keys import settings_plain
from luthier.compare.running.scored import dev_score, scored
from luthier.errors import CapabilityError, LuthierError, StorageError
from luthier.ledger.artifacts import write_text
from luthier.ledger.codec import dumps, loads
from luthier.ledger.provenance import now
from luthier.ledger.store import RunRow, storage_error
from luthier.ledger.work import Work, working
from luthier.models.model import Model
from luthier.models.sources.folder import open_adaptation
from luthier.records import Budget, FitRecord, Lineage, Score


def kept(bench: Bench, key: str) -> SeedRun | None:
    """The run as the ledger holds it finished, its artifact intact; else None."""
    if key in bench.known:
        return bench.known[key]
    row = bench.store.run(key)
    if row is None or row.status != "finished" or row.result is None:
        return None
    if not bench.artifacts.has(row.artifact):
        return None
    bench.known[key] = loads(SeedRun, row.result)
    return bench.known[key]


def perform(bench: Bench, job: Job, heard: Heard) -> SeedRun:
    """Do a job, or find it done. Failures come back as a run with a status and a reason.

    Raises StorageError (nothing can be kept) and lets KeyboardInterrupt through.
    """
    done = kept(bench, job.key)
    if done is not None:
        return done
    started = now()
    try:
        bench.check_time()
        fitted, record, digest = _fitted(bench, job, heard, started)
        run = scored(bench, job, heard, (fitted, record, digest))
        run = replace(run, started=started, finished=now())
    except StorageError:
        raise
    except HardCapReached as stop:
        run, digest = _unscored(job, "stopped", stop.problem, started), None
    except CapabilityError as lack:
        run, digest = _unscored(job, "skipped", lack.problem, started), None
    except Exception as error:
        if interrupts.asked_for(error):
            raise KeyboardInterrupt from error
        if _disk_is_full(error):
            raise storage_error(bench.folder, error) from error
        run, digest = _failed(bench, job, error, started), None
    _end(bench, job, run, digest)
    if run.status == "finished":
        bench.known[job.key] = run
        shutil.rmtree(_work_folder(bench, job), ignore_errors=True)
        with suppress(OSError):  # others may still have a checkpoint there
            (bench.folder / "work").rmdir()
    gc.collect()  # a fork that nobody holds any more is memory the next fit wants
    return run


def _disk_is_full(error: Exception) -> bool:
    """By its number; a library in another language (safetensors) has only the words for it."""
    numbers = (errno.ENOSPC, errno.EDQUOT)
    if isinstance(error, OSError):
        return error.errno in numbers
    return any(f"(os error {number})" in str(error) for number in numbers)


def combined(parts: Sequence[tuple[str, FitRecord]]) -> FitRecord:
    """The record of a recipe: sums over its steps, and what each of them chose."""
    records = [record for _, record in parts]
    return FitRecord(
        fit_seconds=_total(r.fit_seconds for r in records),
        spent_tokens=_count(r.spent_tokens for r in records),
        trainable_parameters=_count(r.trainable_parameters for r in records),
        train_examples=max((r.train_examples or 0 for r in records), default=0),
        peak_memory_bytes=max((r.peak_memory_bytes or 0 for r in records), default=0) or None,
        chosen={
            **{f"{i} {name}": dict(r.chosen) for i, (name, r) in enumerate(parts, 1)},
            "dev_score": dev_score(records[-1]),
        },
        history=records[-1].history,
        notes=tuple(note for r in records for note in r.notes),
    )


def saved_model(folder: Path, model: Model) -> Model:
    """The model that was saved in a folder, on the backend that is open already."""
    adaptation, lineage, _, _ = open_adaptation(folder)
    return Model(model.backend, adaptation, lineage)


def reason_of(error: BaseException) -> str:
    """An error in one line."""
    if isinstance(error, LuthierError):
        return " ".join(filter(None, (error.problem, error.next_step)))
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0]}" if said else type(error).__name__


def _fitted(bench: Bench, job: Job, heard: Heard, started: str) -> tuple[Model, FitRecord, str]:
    """Fit and keep, or find kept. The model that comes back was read from its artifact: what is
    scored is what will answer."""
    row = bench.store.run(job.key)
    if row and row.status == "fitted" and row.result and bench.artifacts.has(row.artifact):
        digest = str(row.artifact)
        model = saved_model(bench.artifacts.path(digest), job.model)
        return model, loads(FitRecord, row.result), digest
    begun = RunRow(
        job.key, bench.comparison, job.purpose, job.line.name, job.seed, "running", started
    )
    bench.store.begin(begun)

    def listen(done: float, total: float, message: str) -> None:
        bench.check_time()
        heard(min(1.0, done / total) if total else 0.0, message)

    folder = _work_folder(bench, job)
    with working(Work(listen, folder)), Sampled() as sampled:
        model = job.technique.fit(
            job.model, job.task, budget=Budget(tokens=job.budget_tokens), seed=job.seed
        )
    record = model.lineage.fit if model.lineage is not None else FitRecord()
    record = replace(
        record,
        fit_seconds=sampled.seconds if record.fit_seconds is None else record.fit_seconds,
        peak_memory_bytes=sampled.peak_memory_bytes,
    )
    if job.recipe is not None:
        record = combined((*job.before, (job.technique.name, record)))
        settings = settings_plain(job.recipe)
        model = model.adapt(
            lineage=Lineage(job.recipe.name, settings, job.seed, record, model.lineage)
        )
    digest = bench.artifacts.put(model.save)
    bench.store.begin(replace(begun, status="fitted", result=dumps(record), artifact=digest))
    return saved_model(bench.artifacts.path(digest), job.model), record, digest


def _total(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _count(values: Iterable[int | None]) -> int | None:
    total = _total(values)
    return None if total is None else int(total)


def give_up(bench: Bench, job: Job, status: Status, reason: str) -> SeedRun:
    """Write down that a job was not even tried, and why."""
    run = _unscored(job, status, reason, now())
    _end(bench, job, run, None)
    return run


def _failed(bench: Bench, job: Job, error: Exception, started: str) -> SeedRun:
    """The run of a technique that raised; the traceback goes to a file beside the ledger."""
    run = _unscored(job, "failed", reason_of(error), started)
    log = bench.folder / "errors" / f"{job.line.slug}-{job.seed}.txt"
    write_text(log, "".join(traceback.format_exception(error)))
    bench.store.note("failed", run.reason or "", comparison=bench.comparison, run=job.key)
    return run


def _unscored(job: Job, status: Status, reason: str, started: str) -> SeedRun:
    return SeedRun(
        seed=job.seed,
        status=status,
        score=Score("", None),
        parse_rate=Score("parse-rate", None),
        reason=reason,
        started=started,
        finished=now(),
    )


def _end(bench: Bench, job: Job, run: SeedRun, digest: str | None) -> None:
    before = bench.store.run(job.key)
    if run.status == "stopped" and before is not None and before.status == "fitted":
        return  # the fit is kept: the next start scores it
    bench.store.end(
        RunRow(
            key=job.key,
            comparison=bench.comparison,
            purpose=job.purpose,
            technique=job.line.name,
            seed=job.seed,
            status=run.status,
            started=run.started or now(),
            finished=run.finished,
            result=dumps(run),
            artifact=digest,
            error=run.reason,
        )
    )


def _work_folder(bench: Bench, job: Job) -> Path:
    return bench.folder / "work" / job.key[:16]
