"""Scoring what was fitted and saved: quality on the locked test split, cost, forgetting."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from luthier.compare.comparison import OffTask, SeedRun
from luthier.compare.costs import measured_cost, shared_tokens
from luthier.compare.running.bench import Bench, Heard, Job
from luthier.ledger.artifacts import tree_bytes
from luthier.ledger.work import Work, working
from luthier.models.answering import render_for
from luthier.models.model import Model
from luthier.records import FitRecord

if TYPE_CHECKING:
    from luthier.records import Example

TIMED = 10  # look-ups


def scored(bench: Bench, job: Job, heard: Heard, fitted: tuple[Model, FitRecord, str]) -> SeedRun:
    """The finished run of a fitted model, its record and the hash of its artifact."""
    from luthier.scoring import evaluate
    from luthier.scoring.retrieval_metrics import knowledge_scores

    model, record, digest = fitted

    def listen(done: float, total: float, message: str) -> None:
        bench.check_time()
        heard(1.0, message)

    with working(Work(listen)):
        result = evaluate(
            model,
            bench.task,
            limit=bench.limit,
            seed=job.seed,
            latency=job.purpose != "curve",
        )
    shown = {j.example_id for j in result.judged}
    looked_up = (
        ()
        if job.purpose == "curve"
        else knowledge_scores(model, [e for e in bench.task.test if e.id in shown], result.judged)
    )
    folder = bench.artifacts.path(digest)
    cost = measured_cost(
        record,
        result,
        facts=model.backend.facts,
        artifact_bytes=tree_bytes(folder),
        shared_prompt_tokens=shared_tokens(model, bench.task.test),
    )
    curve = job.purpose == "curve"
    return SeedRun(
        seed=job.seed,
        status="finished",
        score=result.score,
        parse_rate=result.parse_rate,
        secondary=(*result.secondary, *looked_up),
        judged=() if curve else result.judged,
        fit=replace(record, notes=(*record.notes, *_look_up_notes(bench, job, model))),
        cost=cost,
        settings=dict(model.lineage.settings) if model.lineage else {},
        train_examples=len(job.task.train),
        dev_score=dev_score(record),
        off_task=None if curve else _off_task(bench, model),
        prompt_text="" if curve else prompt_text(model, bench.task.test[0]),
        path=folder.relative_to(bench.folder).as_posix(),
    )


def _look_up_notes(bench: Bench, job: Job, model: Model) -> tuple[str, ...]:
    """Of the latency, what looking things up takes; the rest is reading."""
    if model.adaptation.knowledge is None or job.purpose == "curve":
        return ()
    from luthier.scoring.retrieval_metrics import look_up_seconds

    whole, embedding = look_up_seconds(model, [e.input for e in bench.task.test[:TIMED]])
    within = "" if embedding is None else f", of which embedding the question {1e3 * embedding:.1f}"
    return (
        f"A look-up took {1e3 * whole:.1f} ms (median of {min(TIMED, len(bench.task.test))})"
        f"{within}; the rest of the latency is reading.",
    )


def _off_task(bench: Bench, model: Model) -> OffTask | None:
    """Forgetting. A prompt leaves the base as it is, so only the other slots are measured."""
    from luthier.scoring import off_task_loss

    adapted = model.adaptation
    if adapted.soft_prompt is None and adapted.adapter is None and adapted.weights is None:
        return None
    before, after = bench.base_loss, off_task_loss(model)
    if before is None or after is None:
        return None
    return OffTask(before, after.nats_per_token, after.tokens)


def dev_score(record: FitRecord) -> float | None:
    """What the technique says that it reached on dev: in what it chose, or in its history."""
    said = record.chosen.get("dev_score")
    if isinstance(said, (int, float)):
        return float(said)
    seen = [step.get("dev_score") for step in record.history]
    scores = [float(value) for value in seen if isinstance(value, (int, float))]
    return max(scores, default=None)


def prompt_text(model: Model, example: Example) -> str:
    """The prompt for one example as it is sent; chat turns under their role in square brackets.

    Virtual tokens have no text: where there are some, a line says where they stand.
    """
    rendered = render_for(model, [example])[0]
    text = rendered.text
    if rendered.messages:
        text = "\n\n".join(f"[{m.role}]\n{m.content}" for m in rendered.messages)
    soft = model.adaptation.soft_prompt
    if soft is None:
        return text
    mark = f"[{int(soft.tensor.shape[1])} virtual tokens]"
    return f"{mark}\n{text}" if soft.placement == "before" else f"{text}\n{mark}"
