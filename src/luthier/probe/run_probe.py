"""Run every part of a probe that is asked for and can be measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from luthier.context import WorkContext, report_progress, working
from luthier.errors import UserError
from luthier.models.model import Model
from luthier.probe.findings import Findings
from luthier.probe.probe_request import PARTS, ProbeRequest
from luthier.probe.probed_text import ProbedText, read_texts
from luthier.probe.traced_answers import (
    TracedAnswer,
    documents_as_answers,
    is_answers,
    read_answers,
)

NAMES = {
    "familiarity": "how familiar the documents are",
    "traces": "where answers stand word for word",
    "contamination": "whether it has met the test set",
    "hallucination": "where it makes things up",
    "skills": "what it can do",
    "advice": "what to try first",
}


@dataclass(frozen=True, slots=True)
class _Read:
    """What the request's sources hold."""

    texts: tuple[ProbedText, ...]
    against: tuple[ProbedText, ...]
    answers: tuple[TracedAnswer, ...]
    unread: tuple[str, ...]


def run_probe(model: Model, request: ProbeRequest) -> Findings:
    """What the base of `model` knows of the request's documents and task.

    Files of answers (JSON lines with an `answer`) are traced; every other source is documents.

    UserError where a part is asked for by name and what it needs is not given; TaskError where a
    source holds no documents.
    """
    parts = wanted_parts(request)
    started, read = time.perf_counter(), _read(request)
    task = request.task
    found = Findings(
        base=model.backend.name,
        fingerprint=model.backend.fingerprint,
        documents=tuple(text.name for text in read.texts),
        unread=read.unread,
        task=None if task is None else task.name,
        task_fingerprint=None if task is None else task.fingerprint,
    )
    measures = _measures(model, request, read)
    for number, part in enumerate(parts):
        with _share_of(number, len(parts), NAMES[part]):
            found = replace(found, **{part: measures[part](found)})
    return replace(found, seconds=time.perf_counter() - started)


def wanted_parts(request: ProbeRequest) -> tuple[str, ...]:
    """The parts that a request has all that is needed for, in their order.

    UserError where one is asked for by name and lacks something. Nothing is read before that.
    """
    answers = [source for source in request.on if is_answers(source)]
    documents = len(request.on) > len(answers)
    lacks = {
        "familiarity": "" if documents else "documents: --on FOLDER",
        "traces": "" if answers or (request.on and request.corpus) else "a corpus: --corpus FOLDER",
        "contamination": "" if request.task else "a task: --task FILE",
        "hallucination": "" if request.task else "a task: --task FILE",
        "skills": "",
        "advice": "" if request.task else "a task: --task FILE",
    }
    for part in request.parts:
        if lacks[part]:
            raise UserError(f"the part {part!r} of a probe needs {lacks[part]}")
    return tuple(part for part in PARTS if request.wants(part) and not lacks[part])


def _measures(
    model: Model, request: ProbeRequest, read: _Read
) -> dict[str, Callable[[Findings], Any]]:
    from luthier.probe.contamination import measure_contamination
    from luthier.probe.hallucination_map import map_hallucinations
    from luthier.probe.measure_familiarity import measure_familiarity
    from luthier.probe.probe_advice import advise
    from luthier.probe.skills import profile_skills
    from luthier.probe.verbatim import find_traces

    answers = read.answers or documents_as_answers(read.texts)
    return {
        "familiarity": lambda _: measure_familiarity(model, request, read.texts, read.against),
        "traces": lambda _: find_traces(answers, request.corpus),
        "contamination": lambda _: measure_contamination(model, request),
        "hallucination": lambda _: map_hallucinations(model, request, read.texts),
        "skills": lambda _: profile_skills(model, request),
        "advice": lambda found: advise(found, model, request, read.texts),
    }


def _read(request: ProbeRequest) -> _Read:
    unread: list[str] = []
    answers: list[TracedAnswer] = []
    documents: list[str] = []
    for source in request.on:
        if is_answers(source):
            answers += read_answers(source)
        else:
            documents.append(source)
    texts = _texts(documents, unread)
    if documents and not texts and not answers:
        raise UserError(
            "None of the documents could be read: " + "; ".join(unread[:5]),
            next_step="Name a folder with text, Markdown, HTML, PDF or Word files.",
        )
    return _Read(texts, _texts(request.against, unread), tuple(answers), tuple(unread))


def _texts(sources: Sequence[str], unread: list[str]) -> tuple[ProbedText, ...]:
    return tuple(read_texts(sources, unread)) if sources else ()


@contextmanager
def _share_of(number: int, count: int, name: str) -> Iterator[None]:
    """Progress inside a part moves the whole by its share: 100 units a part."""

    def move(done: float, total: float, message: str) -> None:
        outer(100.0 * (number + (done / total if total else 0.0)), 100.0 * count, name)

    outer = report_progress
    outer(100.0 * number, 100.0 * count, name)
    with working(WorkContext(progress=_in_outer(move))):
        yield


def _in_outer(move: Callable[[float, float, str], None]) -> Callable[[float, float, str], None]:
    """`move`, called in the surroundings of now: it reports to the bar outside."""
    from contextvars import copy_context

    surroundings = copy_context()
    return lambda done, total, message: surroundings.run(move, done, total, message)
