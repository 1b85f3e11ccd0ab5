"""The task pydoc: questions about Python, each with the section of its documentation that answers.

The section is found at load time, so that it is the text of this Python. It is the one with most
words of the question among the sections of the named document that contain the answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

from luthier.task.bundled.pydoc_documents import documents

LONGEST = 900  # characters of a section


def pydoc_rows() -> Iterator[Mapping[str, Any]]:
    """Rows {question, answer, source, evidence}, without those whose document this Python lacks."""
    texts = documents()
    lines = (files(__package__) / "pydoc.jsonl").read_text("utf-8").splitlines()
    for line in lines:
        row = json.loads(line)
        found = evidence(texts.get(f"{row['source']}.md", ""), row["question"], row["answer"])
        if found is not None:
            yield {**row, "evidence": found}


def evidence(text: str, question: str, answer: str) -> str | None:
    """The section of a document with the answer and most words of the question.

    None where no section contains the answer.
    """
    asked = set(_words(question))
    best: tuple[int, str] | None = None
    for section in sections(text):
        if f" {answer.casefold()} " not in f" {' '.join(section.casefold().split())} " and (
            re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", " ".join(section.split())) is None
        ):
            continue
        shared = len(asked & set(_words(section)))
        if best is None or shared > best[0]:
            best = (shared, section)
    return None if best is None else best[1]


def sections(text: str) -> Iterator[str]:
    """The parts of a Markdown document under their headings, cut at paragraphs where long."""
    for part in re.split(r"\n(?=#)", text):
        heading = part.split("\n", 1)[0] if part.startswith("#") else ""
        piece = ""
        for paragraph in re.split(r"\n\s*\n", part):
            if piece and len(piece) + len(paragraph) > LONGEST:
                yield piece
                piece = heading
            piece = f"{piece}\n\n{paragraph}" if piece else paragraph
        if piece:
            yield piece


def _words(text: str) -> list[str]:
    """Words by their first six letters: "raises" and "raised" are one."""
    return [w[:6] for w in re.findall(r"[a-z0-9]+", text.casefold()) if len(w) > 2]
