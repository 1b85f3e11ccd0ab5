"""The documents that a probe reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from luthier.retrieval.ingest.document import Section, UnreadableError
from luthier.retrieval.ingest.sources import find_documents, read_document


@dataclass(frozen=True, slots=True)
class ProbedText:
    """One document as it was read: its name, its text, and its sections with their headings."""

    name: str
    text: str
    sections: tuple[Section, ...] = ()


def read_texts(sources: Sequence[str], unread: list[str]) -> Iterator[ProbedText]:
    """Every document of the sources, one at a time; what cannot be read is appended to `unread`
    with the reason. TaskError where a source has no documents."""
    for file in find_documents(sources):
        try:
            document = read_document(file, file.read())
        except UnreadableError as error:
            unread.append(f"{file.name}: {error.problem}")
            continue
        yield ProbedText(file.name, document.text, document.sections)
