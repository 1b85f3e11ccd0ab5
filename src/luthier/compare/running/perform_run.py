"""One job: fit with one seed, save, score what was saved, write it to the ledger.

The ledger's row goes through "running" (nothing is kept yet), "fitted" (the artifact is safe) and
"finished". A kill in between loses at most what came after the last of these.
"""

from __future__ import annotations

import errno
import gc
import shutil
import traceback
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from luthier import interrupts
from luthier.compare.comparison import Run
from luthier.compare.costs import Sampled
from luthier.compare.plan import Status
from luthier.compare.running.run_context import (
    HardCapReached,
    ProgressCallback,
    RunContext,
    RunRequest,
)
from luthier.compare.running.run_keys import settings_plain
from luthier.compare.running.score_run import score_run
from luthier.context import WorkContext, working
from luthier.errors import CapabilityError, LuthierError, StorageError
from luthier.ledger.artifacts import write_text
from luthier.ledger.provenance import now
from luthier.ledger.run_ledger import StoredRun
from luthier.ledger.storage_errors import storage_error
from luthier.models.model import Model
from luthier.models.storage import open_adaptation
from luthier.records import Budget, FitRecord, Lineage, Score, StepRecord
from luthier.serialization import dumps, loads


def finished_run(context: RunContext, key: str) -> Run | None:
    """The run as the ledger holds it finished, its artifact intact; else None."""
    if key in context.known:
        return context.known[key]
    row = context.store.run(key)
    if row is None or row.status != "finished" or row.result is None:
        return None
    if not context.artifacts.has(row.artifact):
        return None
    context.known[key] = loads(Run, row.result)
    return context.known[key]


def perform_run(context: RunContext, request: RunRequest, on_progress: ProgressCallback) -> Run:
    """Do a job, or find it done. Failures come back as a run with a status and a reason.

    Raises StorageError (nothing can be kept) and lets KeyboardInterrupt through.
    """
    done = finished_run(context, request.key)
    if done is not None:
        return done
    started = now()
    try:
        context.check_time()
        fitted, record, digest = _fitted(context, request, on_progress, started)
        run = score_run(context, request, on_progress, (fitted, record, digest))
        run = replace(run, started=started, finished=now())
    except StorageError:
        raise
    except HardCapReached as stop:
        run, digest = _unscored(request, "stopped", stop.problem, started), None
    except CapabilityError as lack:
        run, digest = _unscored(request, "skipped", lack.problem, started), None
    except Exception as error:
        if interrupts.requested(error):
            raise KeyboardInterrupt from error
        if _disk_is_full(error):
            raise storage_error(context.folder, error) from error
        run, digest = _failed(context, request, error, started), None
    _end(context, request, run, digest)
    if run.status == "finished":
        context.known[request.key] = run
        shutil.rmtree(_work_folder(context, request), ignore_errors=True)
        with suppress(OSError):  # others may still have a checkpoint there
            (context.folder / "work").rmdir()
    gc.collect()  # a fork that nobody holds any more is memory the next fit wants
    return run


def _disk_is_full(error: Exception) -> bool:
    """By its number; a library in another language (safetensors) has only the words for it."""
    numbers = (errno.ENOSPC, errno.EDQUOT)
    if isinstance(error, OSError):
        return error.errno in numbers
    return any(f"(os error {number})" in str(error) for number in numbers)


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


def _fitted(
    context: RunContext, request: RunRequest, on_progress: ProgressCallback, started: str
) -> tuple[Model, FitRecord, str]:
    """Fit and keep, or find kept. The model that comes back was read from its artifact: what is
    scored is what will answer."""
    row = context.store.run(request.key)
    if row and row.status == "fitted" and row.result and context.artifacts.has(row.artifact):
        digest = str(row.artifact)
        model = saved_model(context.artifacts.path(digest), request.model)
        return model, loads(FitRecord, row.result), digest
    begun = StoredRun(
        request.key,
        context.comparison,
        request.purpose,
        request.planned.name,
        request.seed,
        "running",
        started,
    )
    context.store.begin(begun)

    def listen(done: float, total: float, message: str) -> None:
        context.check_time()
        on_progress(min(1.0, done / total) if total else 0.0, message)

    folder = _work_folder(context, request)
    with working(WorkContext(listen, folder)), Sampled() as sampled:
        model = request.technique.fit(
            request.model,
            request.task,
            budget=Budget(tokens=request.budget_tokens),
            seed=request.seed,
        )
    record = model.lineage.fit if model.lineage is not None else FitRecord()
    record = replace(
        record,
        fit_seconds=sampled.seconds if record.fit_seconds is None else record.fit_seconds,
        peak_memory_bytes=sampled.peak_memory_bytes,
    )
    if request.recipe is not None:
        part = StepRecord(request.technique.name, record, record.dev_score, model.adaptation.filled)
        record = FitRecord.of_recipe((*request.before, part))
        settings = settings_plain(request.recipe)
        model = model.adapt(
            lineage=Lineage(request.recipe.name, settings, request.seed, record, model.lineage)
        )
    digest = context.artifacts.put(model.save)
    context.store.begin(replace(begun, status="fitted", result=dumps(record), artifact=digest))
    return saved_model(context.artifacts.path(digest), request.model), record, digest


def give_up(context: RunContext, request: RunRequest, status: Status, reason: str) -> Run:
    """Write down that a job was not even tried, and why."""
    run = _unscored(request, status, reason, now())
    _end(context, request, run, None)
    return run


def _failed(context: RunContext, request: RunRequest, error: Exception, started: str) -> Run:
    """The run of a technique that raised; the traceback goes to a file beside the ledger."""
    run = _unscored(request, "failed", reason_of(error), started)
    log = context.folder / "errors" / f"{request.planned.slug}-{request.seed}.txt"
    write_text(log, "".join(traceback.format_exception(error)))
    context.store.note("failed", run.reason or "", comparison=context.comparison, run=request.key)
    return run


def _unscored(request: RunRequest, status: Status, reason: str, started: str) -> Run:
    return Run(
        seed=request.seed,
        status=status,
        score=Score("", None),
        parse_rate=Score("parse-rate", None),
        reason=reason,
        started=started,
        finished=now(),
    )


def _end(context: RunContext, request: RunRequest, run: Run, digest: str | None) -> None:
    before = context.store.run(request.key)
    if run.status == "stopped" and before is not None and before.status == "fitted":
        return  # the fit is kept: the next start scores it
    context.store.end(
        StoredRun(
            key=request.key,
            comparison=context.comparison,
            purpose=request.purpose,
            technique=request.planned.name,
            seed=request.seed,
            status=run.status,
            started=run.started or now(),
            finished=run.finished,
            result=dumps(run),
            artifact=digest,
            error=run.reason,
        )
    )


def _work_folder(context: RunContext, request: RunRequest) -> Path:
    return context.folder / "work" / request.key[:16]
