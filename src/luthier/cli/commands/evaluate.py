"""`luthier evaluate`: score one model on one task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli.shared_options import AllowCode, MovedBase, PrintJson

if TYPE_CHECKING:
    from luthier.models.model import Model
    from luthier.records import EvalResult, Score
    from luthier.task.task import Task


def evaluate(
    model: Annotated[
        str, typer.Argument(help="A technique's folder (runs/<id>/lora), or any model.")
    ],
    task: Annotated[str, typer.Argument(help="A task file, or the name of a bundled task.")],
    split: Annotated[str, typer.Option(help="train, dev or test.")] = "test",
    limit: Annotated[int | None, typer.Option(help="Score only so many examples.")] = None,
    base: MovedBase = None,
    allow_code: AllowCode = False,
    as_json: PrintJson = False,
) -> None:
    """Score a saved model with the evaluator that compare uses.

    A bare base model is adapted with the task's own prompt.
    """
    from luthier.cli.console import data, only_data_on_stdout, print_json, talk
    from luthier.cli.progress import reading_task
    from luthier.compare.run_folder import pick_folder
    from luthier.errors import TaskError, did_you_mean
    from luthier.models.load import load
    from luthier.scoring import evaluate as score
    from luthier.task.spec import SPLITS
    from luthier.task.task import Task

    with reading_task(talk()):
        opened_task = Task.load(task, allow_code=allow_code)
    if split not in SPLITS:
        raise TaskError(
            f"unknown split {split!r}", choices=SPLITS, next_step=did_you_mean(split, SPLITS)
        )
    with only_data_on_stdout():
        adapted = load(pick_folder(model), base=base)
        if not adapted.adaptation.filled:
            adapted = adapted.adapt(
                prompt=opened_task.base_prompt(),
                decoding=opened_task.base_decoding(adapted.backend),
            )
        check_labels(adapted, opened_task)
        result = score(adapted, opened_task, split=split, limit=limit, latency=True)
    if as_json:
        print_json({"task": opened_task.name, "model": model, "split": split, **as_plain(result)})
        return
    console = data()
    for each in (result.score, result.parse_rate, *result.secondary):
        console.print(in_words(each), markup=False)
    console.print(f"examples {len(result.sample_scores)}", markup=False)
    cut = sum(sample.cut for sample in result.sample_scores)
    if cut:
        limit = adapted.adaptation.decoding.max_new_tokens
        console.print(f"answers cut at {limit} new tokens {cut}", markup=False)
    if result.met_examples is not None:
        console.print(met_words(result), markup=False)
    if result.latency_p50_ms is not None and result.latency_p95_ms is not None:
        console.print(
            f"latency p50 {result.latency_p50_ms:.1f} ms, p95 {result.latency_p95_ms:.1f} ms",
            markup=False,
        )
    for note in result.notes:
        console.print(f"note: {note}", markup=False)


def check_labels(model: Model, task: Task) -> None:
    """TaskError where a model answers with labels and none of them is a label of the task."""
    from luthier.errors import TaskError

    known = model.adaptation.decoding.labels
    if known and task.labels and not set(known) & set(task.labels):
        raise TaskError(
            f"this model answers with other labels than those of {task.name} "
            f"({', '.join(task.labels[:8])})",
            choices=known[:20],
            next_step="Evaluate it on the task it was fitted on, or compare on this one.",
        )


def as_plain(result: EvalResult) -> dict[str, Any]:
    """A result without its examples, for JSON."""
    from luthier.serialization import to_plain

    return {
        "score": to_plain(result.score),
        "parse_rate": to_plain(result.parse_rate),
        "secondary": to_plain(result.secondary),
        "examples": len(result.sample_scores),
        "cut_answers": sum(sample.cut for sample in result.sample_scores),
        "met_examples": result.met_examples,
        "usage": to_plain(result.usage),
        "latency_ms": {"p50": result.latency_p50_ms, "p95": result.latency_p95_ms},
        "notes": list(result.notes),
    }


def met_words(result: EvalResult) -> str:
    """How many of the examples the model could see while it was fitted."""
    count = len(result.sample_scores)
    if not result.met_examples:
        return f"met before: none of the {count} examples was in the data it was fitted on"
    return (
        f"met before: {result.met_examples} of the {count} examples were in the data it was fitted "
        "on; the score says nothing about new ones"
    )


def in_words(score: Score) -> str:
    """A score in one line."""
    if score.value is None:
        return f"{score.metric} not measured"
    if score.low is None or score.high is None:
        return f"{score.metric} {score.value:.4f}"
    return f"{score.metric} {score.value:.4f} (95 % interval {score.low:.4f} to {score.high:.4f})"
