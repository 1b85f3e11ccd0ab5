"""Scoring a fitted model: quality on the locked test split, cost, forgetting."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from luthier.compare.comparison import OffTask, Run
from luthier.compare.costs import measured_cost, shared_tokens
from luthier.compare.running.run_context import ProgressCallback, RunContext, RunRequest
from luthier.context import WorkContext, working
from luthier.ledger.artifacts import tree_bytes
from luthier.models.answering import render_for
from luthier.models.model import Model
from luthier.records import Capability, FitRecord

if TYPE_CHECKING:
    from luthier.records import Example

TIMED_LOOK_UPS = 10


@dataclass(frozen=True, slots=True)
class FittedModel:
    """A model as it was read from its `artifact` (a hash), and the record of its fit."""

    model: Model
    record: FitRecord
    artifact: str


def score_run(
    context: RunContext, request: RunRequest, on_progress: ProgressCallback, fitted: FittedModel
) -> Run:
    """Score a fitted model: the finished run, but for its start and end."""
    from luthier.scoring import evaluate
    from luthier.scoring.knowledge_scores import knowledge_scores

    model, test = fitted.model, context.task.test
    on_curve = request.planned.purpose == "curve"
    # Pictures of one example are drawn from one noise in all runs, so that they can be compared.
    drawn = Capability.DRAWING in model.capabilities

    def progress(done: float, total: float, message: str) -> None:
        context.check_time()
        on_progress(1.0, message)

    with working(WorkContext(progress)):
        result = evaluate(
            model,
            context.task,
            limit=context.limit,
            seed=0 if drawn else request.planned.seed,
            latency=not on_curve,
        )
    folder = context.artifacts.path(fitted.artifact)
    run = Run(
        seed=request.planned.seed,
        status="finished",
        score=result.score,
        parse_rate=result.parse_rate,
        secondary=result.secondary,
        fit=fitted.record,
        cost=measured_cost(
            fitted.record,
            result,
            facts=model.backend.facts,
            artifact_bytes=tree_bytes(folder),
            shared_prompt_tokens=shared_tokens(model, test),
        ),
        settings=dict(model.lineage.settings) if model.lineage else {},
        train_examples=len(request.task.train),
        notes=result.notes,
        dev_score=fitted.record.dev_score,
        path=folder.relative_to(context.folder).as_posix(),
    )
    if on_curve:
        return run
    scored = {sample.example_id for sample in result.sample_scores}
    examples = [example for example in test if example.id in scored]
    looked_up = knowledge_scores(model, examples, result.sample_scores)
    notes = (*fitted.record.notes, *_look_up_notes(context, model))
    return replace(
        run,
        secondary=(*result.secondary, *looked_up),
        sample_scores=result.sample_scores,
        fit=replace(fitted.record, notes=notes),
        off_task=_off_task(context, model, request.base),
        prompt_text=prompt_text(model, test[0]),
    )


def _look_up_notes(context: RunContext, model: Model) -> tuple[str, ...]:
    """How much of the latency is looking up passages; the rest is reading."""
    if model.adaptation.knowledge is None:
        return ()
    from luthier.scoring.knowledge_scores import search_seconds

    questions = [example.text for example in context.task.test[:TIMED_LOOK_UPS]]
    whole, embedding = search_seconds(model, questions)
    within = "" if embedding is None else f", of which embedding the question {1e3 * embedding:.1f}"
    return (
        f"A look-up took {1e3 * whole:.1f} ms (median of {len(questions)}){within}; the rest of "
        "the latency is reading.",
    )


def _off_task(context: RunContext, model: Model, base: str) -> OffTask | None:
    """Forgetting. A prompt leaves the base as it is, so it is measured for other slots only."""
    from luthier.scoring import off_task_loss

    adapted = model.adaptation
    if adapted.soft_prompt is None and adapted.adapter is None and adapted.weights is None:
        return None
    before, after = context.base_loss(base), off_task_loss(model)
    if before is None or after is None:
        return None
    return OffTask(before, after.nats_per_token, after.tokens)


def prompt_text(model: Model, example: Example) -> str:
    """The prompt for one example as it is sent; each chat message under its role in brackets.

    Virtual tokens have no text; a line marks their place.
    """
    rendered = render_for(model, [example])[0]
    text = rendered.text
    if rendered.messages:
        text = "\n\n".join(f"[{m.role}]\n{m.text}" for m in rendered.messages)
    soft = model.adaptation.soft_prompt
    if soft is None or soft.placement == "word":  # a learnt word is written as it is
        return text
    mark = f"[{int(soft.tensor.shape[1])} virtual tokens]"
    return f"{mark}\n{text}" if soft.placement == "before" else f"{text}\n{mark}"
