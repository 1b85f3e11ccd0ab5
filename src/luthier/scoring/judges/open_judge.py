"""From `judge(rubric.md)`, or from a rubric and a model's name, to a judge."""

from __future__ import annotations

from luthier.errors import TaskError
from luthier.models.load import load
from luthier.safety.hosts import check_host
from luthier.scoring.judges.judge import Judge, ScriptedJudge
from luthier.scoring.judges.rubric_judge import RubricJudge
from luthier.task.judge_spec import JudgeSpec, read_judge
from luthier.task.reading.python_function import load_function


def open_judge(source: str, *, model: str | None = None) -> Judge:
    """The judge of a rubric file or of "file.py:function". `model` stands in for the rubric's own.

    TaskError where a rubric has no model that reads it.
    """
    spec = read_judge(source)
    if spec.scripted:
        return ScriptedJudge(load_function(source), name=judge_name(spec))
    name = model or spec.model
    if name is None:
        raise TaskError(
            f"Nobody judges by {source}: it names no model",
            next_step="Write `model: http://HOST/v1#NAME` (or a folder, or a hub id) between two "
            "lines of --- at its beginning, or give --judge.",
        )
    if model is None:
        check_host(
            name,
            found_in=f"The rubric {source}",
            next_step=f"If you trust that server, name it: --judge {name}",
        )
    return RubricJudge(load(name), spec.text, name=judge_name(spec, model=name))


def judge_name(spec: JudgeSpec, *, model: str | None = None) -> str:
    """By what its opinions are known: what judges, and a digest of what it judges by."""
    if spec.scripted:
        return spec.source.rpartition("/")[2]
    return f"{model or spec.model} · {spec.identity}"
