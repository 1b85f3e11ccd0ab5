"""From what a task file names to a scorer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from luthier import registry
from luthier.errors import TaskError, did_you_mean
from luthier.records import Kind
from luthier.scoring.scorer import ScoreFunction, Scorer
from luthier.scoring.scorers.custom import custom_scorer
from luthier.scoring.scorers.patterns import pattern_scorer
from luthier.scoring.scorers.structured import json_schema_scorer
from luthier.task.judge_spec import judge_source
from luthier.task.reading.python_function import load_function, names_function

if TYPE_CHECKING:
    from luthier.task.task import Task

_SECONDARY: Mapping[Kind, tuple[str, ...]] = {
    Kind.CLASSIFY: ("accuracy", "macro-f1"),
    Kind.QUESTION_ANSWERING: ("exact-match", "token-f1"),
    Kind.EXTRACT: ("exact-match", "token-f1"),
    Kind.GENERATE: ("rouge-l", "chrf", "bleu"),
    Kind.CHAT: ("rouge-l", "chrf", "bleu"),
    Kind.IMAGE: ("scene", "scene-facts"),
}


def resolve_scorer(
    spec: str | ScoreFunction | Scorer, *, schema: Mapping[str, Any] | None = None
) -> Scorer:
    """The scorer that a task names. TaskError, with the choices, where there is none of that name.

    `schema` is the JSON schema for json-schema. A relative file path starts at the working folder.
    """
    if isinstance(spec, Scorer):
        return spec
    if callable(spec):
        return custom_scorer(spec, getattr(spec, "__name__", type(spec).__name__))
    name = spec.strip()
    key = name.lower().replace("_", "-")
    if key == "json-schema":
        return json_schema_scorer(schema)
    if key.startswith("regex:"):
        return pattern_scorer(name[len("regex:") :])
    judged = judge_source(name)
    if judged is not None:
        from luthier.scoring.judges.judge_scorer import judge_scorer

        return judge_scorer(judged)
    if names_function(name):
        return custom_scorer(load_function(name), name.rpartition(":")[2])
    if not registry.has("scorers", key):
        names = registry.names("scorers")
        raise TaskError(
            f"There is no scorer named {spec!r}.",
            choices=(*names, "regex:PATTERN", "path/to/file.py:function", "judge(rubric.md)"),
            next_step=did_you_mean(key, names) or "Name one of these in the task's `scorer`.",
        )
    found = registry.get("scorers", key)
    return replace(found, metric=key) if isinstance(found, Scorer) else custom_scorer(found, key)


def scorer_for(task: Task) -> Scorer:
    """The headline scorer of a task."""
    return resolve_scorer(task.scorer, schema=task.schema)


def secondary_scorers(task: Task, headline: Scorer) -> tuple[Scorer, ...]:
    """Further scorers that suit this kind of task, without the headline scorer."""
    if headline.needs_likelihood:
        return ()
    names = list(_SECONDARY[task.kind])
    if task.kind is Kind.EXTRACT and task.schema is not None:
        names = ["json-schema", "json-fields", "exact-match"]
    if task.spec.calls:
        names.append("call-match")
    found = [resolve_scorer(name, schema=task.schema) for name in names]
    return tuple(s for s in found if s.metric != headline.metric)
