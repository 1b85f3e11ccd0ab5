"""One run: fit with one seed, save, score what was saved, write it to the ledger.

In the ledger the run is "running" (nothing is saved yet), then "fitted" (the artifact is safe),
then "finished". A kill loses at most what came after the last of these.
"""

from __future__ import annotations

import errno
import shutil
import traceback
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from luthier import interrupts
from luthier.compare.comparison import Run
from luthier.compare.costs import ResourceMonitor, release_memory
from luthier.compare.plan import Status
from luthier.compare.running.run_context import (
    HardCapReached,
    ProgressCallback,
    RunContext,
    RunRequest,
)
from luthier.compare.running.run_keys import plain_settings, slug
from luthier.compare.running.score_run import FittedModel, score_run
from luthier.context import WorkContext, working
from luthier.errors import CapabilityError, LuthierError, StorageError
from luthier.ledger.artifacts import write_text
from luthier.ledger.provenance import now
from luthier.ledger.row_reading import read_row
from luthier.ledger.run_ledger import StoredRun
from luthier.ledger.storage_errors import storage_error
from luthier.models.model import Model
from luthier.models.storage import open_adaptation
from luthier.records import FitRecord, Lineage, Score, StepRecord
from luthier.redaction import redact
from luthier.serialization import dumps


def finished_run(context: RunContext, key: str) -> Run | None:
    """The run with that key if it is finished and its artifact intact; else None."""
    if key in context.finished:
        return context.finished[key]
    stored = context.ledger.run(key)
    if stored is None or stored.status != "finished" or stored.result is None:
        return None
    if not context.artifacts.has(stored.artifact):
        return None
    with suppress(StorageError):  # a damaged row: the run is made again
        context.finished[key] = read_row(Run, stored.result, row=f"run {key}")
    return context.finished.get(key)


def perform_run(context: RunContext, request: RunRequest, on_progress: ProgressCallback) -> Run:
    """Make a run. A failure gives a run with its status and reason.

    Raises StorageError (nothing can be stored) and lets KeyboardInterrupt through.
    """
    started = now()
    artifact = None
    try:
        context.check_time()
        fitted = _fit_or_load(context, request, on_progress, started)
        run = score_run(context, request, on_progress, fitted)
        run = replace(run, started=started, finished=now())
        artifact = fitted.artifact
    except StorageError:
        raise
    except HardCapReached as error:
        run = _unscored(request, "stopped", error.problem, started)
    except CapabilityError as error:
        run = _unscored(request, "skipped", error.problem, started)
    except Exception as error:
        if interrupts.requested(error):
            raise KeyboardInterrupt from error
        if _disk_is_full(error):
            raise storage_error(context.folder, error) from error
        run = _failed(context, request, error, started)
    _save_ended(context, request, run, artifact)
    if run.status == "finished":
        context.finished[request.planned.key] = run
        # Its name is a hash: nobody but this fit wrote there.
        shutil.rmtree(_work_folder(context, request), ignore_errors=True)
        with suppress(OSError):  # other runs may still have a checkpoint there
            (context.folder / "work").rmdir()
    release_memory()  # the next fit needs that of a copy of the weights that nobody uses
    return run


def record_unscored(context: RunContext, request: RunRequest, status: Status, reason: str) -> Run:
    """Write to the ledger that a run was not even tried, and why."""
    run = _unscored(request, status, reason, now())
    _save_ended(context, request, run, None)
    return run


def saved_model(folder: Path, model: Model) -> Model:
    """The model that was saved in a folder, on the backend of `model`."""
    adaptation, lineage, _, _ = open_adaptation(folder)
    return Model(model.backend, adaptation, lineage)


def reason_of(error: BaseException) -> str:
    """An error in one line."""
    if isinstance(error, LuthierError):
        return " ".join(filter(None, (error.problem, error.next_step)))
    lines = redact(str(error)).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _fit_or_load(
    context: RunContext, request: RunRequest, on_progress: ProgressCallback, started: str
) -> FittedModel:
    """Fit and save, or load what was fitted before. The model is read from its artifact either way:
    what is scored is what will answer."""
    stored = context.ledger.run(request.planned.key)
    if (
        stored is not None
        and stored.status == "fitted"
        and stored.result
        and stored.artifact is not None
        and context.artifacts.has(stored.artifact)
    ):
        with suppress(StorageError):  # a damaged row: the fit is made again
            record = read_row(FitRecord, stored.result, row=f"run {stored.key}")
            model = saved_model(context.artifacts.path(stored.artifact), request.model)
            return FittedModel(model, record, stored.artifact)
    running = StoredRun(
        key=request.planned.key,
        comparison=context.comparison,
        purpose=request.planned.purpose,
        technique=request.planned.technique,
        seed=request.planned.seed,
        status="running",
        started=started,
    )
    context.ledger.save_run(running)
    model, record = _fit(context, request, on_progress)
    artifact = context.artifacts.put(model.save)
    context.ledger.save_run(
        replace(running, status="fitted", result=dumps(record), artifact=artifact)
    )
    saved = saved_model(context.artifacts.path(artifact), request.model)
    return FittedModel(saved, record, artifact)


def _fit(
    context: RunContext, request: RunRequest, on_progress: ProgressCallback
) -> tuple[Model, FitRecord]:
    """The fitted model and its record; for the last step of a recipe, those of the recipe."""

    def progress(done: float, total: float, message: str) -> None:
        context.check_time()
        on_progress(min(1.0, done / total) if total else 0.0, message)

    if request.model.backend.watch is not None:
        request.model.backend.watch.restart()
    seed, work = request.planned.seed, WorkContext(progress, _work_folder(context, request))
    with working(work), ResourceMonitor() as monitor:
        model = request.technique.fit(request.model, request.task, budget=request.budget, seed=seed)
    record = model.lineage.fit if model.lineage is not None else FitRecord()
    record = replace(
        record,
        fit_seconds=monitor.seconds if record.fit_seconds is None else record.fit_seconds,
        peak_memory_bytes=monitor.peak_memory_bytes,
    )
    if request.recipe is not None:
        step = StepRecord(request.technique.name, record, record.dev_score, model.adaptation.filled)
        record = FitRecord.of_recipe((*request.earlier_steps, step))
        settings = plain_settings(request.recipe)
        model = model.adapt(
            lineage=Lineage(request.recipe.name, settings, seed, record, model.lineage)
        )
    return model, record


def _disk_is_full(error: Exception) -> bool:
    """Whether an error means a full disk. A library in another language (safetensors) has the
    error's number in its message only."""
    numbers = (errno.ENOSPC, errno.EDQUOT)
    if isinstance(error, OSError):
        return error.errno in numbers
    return any(f"(os error {number})" in str(error) for number in numbers)


def _failed(context: RunContext, request: RunRequest, error: Exception, started: str) -> Run:
    """The run of a technique that raised; the traceback goes to a file beside the ledger."""
    planned, run = request.planned, _unscored(request, "failed", reason_of(error), started)
    log = context.folder / "errors" / f"{slug(planned.technique)}-{planned.seed}.txt"
    write_text(log, redact("".join(traceback.format_exception(error))))
    context.ledger.add_event(
        "failed", run.reason or "", comparison=context.comparison, run=planned.key
    )
    return run


def _unscored(request: RunRequest, status: Status, reason: str, started: str) -> Run:
    return Run(
        seed=request.planned.seed,
        status=status,
        score=Score("", None),
        parse_rate=Score("parse-rate", None),
        reason=reason,
        started=started,
        finished=now(),
    )


def _save_ended(context: RunContext, request: RunRequest, run: Run, artifact: str | None) -> None:
    planned = request.planned
    before = context.ledger.run(planned.key)
    if run.status == "stopped" and before is not None and before.status == "fitted":
        return  # the fit is saved: the next start scores it
    context.ledger.save_run(
        StoredRun(
            key=planned.key,
            comparison=context.comparison,
            purpose=planned.purpose,
            technique=planned.technique,
            seed=planned.seed,
            status=run.status,
            started=run.started or now(),
            finished=run.finished,
            result=dumps(run),
            artifact=artifact,
            error=run.reason,
        )
    )


def _work_folder(context: RunContext, request: RunRequest) -> Path:
    """Where the fit may leave checkpoints."""
    return context.folder / "work" / request.planned.key[:16]
