"""Answers whose spans are traced: out of a file of answers, or documents as they are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.errors import UserError
from luthier.probe.probed_text import ProbedText
from luthier.retrieval.ingest.text import decoded

ANSWER_FIELDS = ("answer", "prediction", "response", "completion", "output", "text")
PASSAGE_FIELDS = ("passages", "contexts", "context", "passage")
ID_FIELDS = ("id", "example_id", "question")


@dataclass(frozen=True, slots=True)
class TracedAnswer:
    """One answer, and the passages that it was given, where it was given some."""

    id: str
    text: str
    passages: tuple[str, ...] = ()


def is_answers(source: str) -> bool:
    """Whether a source is a file of answers: JSON lines whose first object has an answer."""
    path = Path(source)
    if path.suffix.lower() != ".jsonl" or not path.is_file():
        return False
    with path.open("rb") as stream:
        first = stream.readline(1_000_000)
    try:
        row = json.loads(first)
    except (ValueError, RecursionError):
        return False
    return isinstance(row, dict) and any(name in row for name in ANSWER_FIELDS[:-1])


def read_answers(source: str) -> list[TracedAnswer]:
    """The answers of a file of JSON lines, such as `luthier predict --out answers.jsonl` writes.
    UserError for a line that is no JSON object with an answer."""
    answers = []
    for number, line in enumerate(decoded(Path(source).read_bytes()).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{source}, line {number}, is not JSON: {error}") from None
        name = next((n for n in ANSWER_FIELDS if isinstance(row, dict) and n in row), None)
        if name is None:
            raise UserError(
                f"{source}, line {number}, has no answer",
                choices=ANSWER_FIELDS,
                next_step="Give each line an object with one of these fields.",
            )
        identity = next((str(row[n]) for n in ID_FIELDS if row.get(n)), f"line {number}")
        answers.append(TracedAnswer(identity, str(row[name] or ""), _passages(row)))
    return answers


def documents_as_answers(texts: Sequence[ProbedText]) -> list[TracedAnswer]:
    """Documents, to be traced as answers are: section by section, for some are whole books."""
    found = []
    for text in texts:
        for section in text.sections:
            heading = f" > {section.headings[-1]}" if section.headings else ""
            part = text.text[section.start : section.end]
            if part.strip():
                found.append(TracedAnswer(f"{text.name}{heading}", part))
    return found


def _passages(row: Mapping[str, Any]) -> tuple[str, ...]:
    for name in PASSAGE_FIELDS:
        if row.get(name):
            return tuple(_texts(row[name]))
    return ()


def _texts(value: Any) -> Iterable[str]:
    """The texts of a passage, of an object that has it in a field, or of a list of these."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        inside = next((value[n] for n in ("text", "quote", "passage") if value.get(n)), None)
        if inside is not None:
            yield str(inside)
    elif isinstance(value, Sequence):
        for one in value:
            yield from _texts(one)
