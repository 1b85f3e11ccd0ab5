"""Scoring what was fitted and saved: quality on the locked test split, cost, forgetting."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from luthier.compare.comparison import OffTask, Run
from luthier.compare.costs import measured_cost, shared_tokens
from luthier.compare.running.run_context import ProgressCallback, RunContext, RunRequest
from luthier.context import WorkContext, working
from luthier.ledger.artifacts import tree_bytes
from luthier.models.answering import render_for
from luthier.models.model import Model
from luthier.records import FitRecord

if TYPE_CHECKING:
    from luthier.records import Example

TIMED = 10  # look-ups


def score_run(
    context: RunContext,
    request: RunRequest,
    on_progress: ProgressCallback,
    fitted: tuple[Model, FitRecord, str],
) -> Run:
    """The finished run of a fitted model, its record and the hash of its artifact."""
    from luthier.scoring import evaluate
    from luthier.scoring.knowledge_scores import knowledge_scores

    model, record, digest = fitted

    def listen(done: float, total: float, message: str) -> None:
        context.check_time()
        on_progress(1.0, message)

    with working(WorkContext(listen)):
        result = evaluate(
            model,
            context.task,
            limit=context.limit,
            seed=request.seed,
            latency=request.purpose != "curve",
        )
    shown = {j.example_id for j in result.sample_scores}
    looked_up = (
        ()
        if request.purpose == "curve"
        else knowledge_scores(
            model, [e for e in context.task.test if e.id in shown], result.sample_scores
        )
    )
    folder = context.artifacts.path(digest)
    cost = measured_cost(
        record,
        result,
        facts=model.backend.facts,
        artifact_bytes=tree_bytes(folder),
        shared_prompt_tokens=shared_tokens(model, context.task.test),
    )
    curve = request.purpose == "curve"
    return Run(
        seed=request.seed,
        status="finished",
        score=result.score,
        parse_rate=result.parse_rate,
        secondary=(*result.secondary, *looked_up),
        sample_scores=() if curve else result.sample_scores,
        fit=replace(record, notes=(*record.notes, *_look_up_notes(context, request, model))),
        cost=cost,
        settings=dict(model.lineage.settings) if model.lineage else {},
        train_examples=len(request.task.train),
        dev_score=record.dev_score,
        off_task=None if curve else _off_task(context, model),
        prompt_text="" if curve else prompt_text(model, context.task.test[0]),
        path=folder.relative_to(context.folder).as_posix(),
    )


def _look_up_notes(context: RunContext, request: RunRequest, model: Model) -> tuple[str, ...]:
    """Of the latency, what looking things up takes; the rest is reading."""
    if model.adaptation.knowledge is None or request.purpose == "curve":
        return ()
    from luthier.scoring.knowledge_scores import search_seconds

    whole, embedding = search_seconds(model, [e.text for e in context.task.test[:TIMED]])
    within = "" if embedding is None else f", of which embedding the question {1e3 * embedding:.1f}"
    return (
        f"A look-up took {1e3 * whole:.1f} ms (median of {min(TIMED, len(context.task.test))})"
        f"{within}; the rest of the latency is reading.",
    )


def _off_task(context: RunContext, model: Model) -> OffTask | None:
    """Forgetting. A prompt leaves the base as it is, so only the other slots are measured."""
    from luthier.scoring import off_task_loss

    adapted = model.adaptation
    if adapted.soft_prompt is None and adapted.adapter is None and adapted.weights is None:
        return None
    before, after = context.base_loss, off_task_loss(model)
    if before is None or after is None:
        return None
    return OffTask(before, after.nats_per_token, after.tokens)


def prompt_text(model: Model, example: Example) -> str:
    """The prompt for one example as it is sent; chat turns under their role in square brackets.

    Virtual tokens have no text: where there are some, a line says where they stand.
    """
    rendered = render_for(model, [example])[0]
    text = rendered.text
    if rendered.messages:
        text = "\n\n".join(f"[{m.role}]\n{m.text}" for m in rendered.messages)
    soft = model.adaptation.soft_prompt
    if soft is None:
        return text
    mark = f"[{int(soft.tensor.shape[1])} virtual tokens]"
    return f"{mark}\n{text}" if soft.placement == "before" else f"{text}\n{mark}"
