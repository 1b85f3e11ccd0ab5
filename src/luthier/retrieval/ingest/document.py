"""A document as it was read: its text, and the sections that belong together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from luthier.errors import UserError

LARGEST_BYTES = 200_000_000  # of one document


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a document's text that contains whole passages; `end` is excluded."""

    start: int
    end: int
    headings: tuple[str, ...] = ()
    page: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Document:
    """The text of a document; positions in sections count its characters."""

    text: str
    sections: tuple[Section, ...]


class UnreadableError(UserError):
    """A document cannot be read. The problem says why; the caller names the document."""


Reader = Callable[[bytes], Document]


def join_parts(parts: list[tuple[str, Section]], between: str = "\n\n") -> Document:
    """One text of many parts; the positions of each section are those of its part in the text."""
    pieces: list[str] = []
    sections: list[Section] = []
    position = 0
    for text, section in parts:
        pieces.append(text)
        sections.append(
            Section(
                position, position + len(text), section.headings, section.page, section.metadata
            )
        )
        position += len(text) + len(between)
    return Document(between.join(pieces), tuple(sections))


def with_heading(headings: list[tuple[int, str]], level: int, title: str) -> list[tuple[int, str]]:
    """The path of headings after a heading of `level` (1 is the highest)."""
    return [h for h in headings if h[0] < level] + [(level, title)]


def titles(headings: list[tuple[int, str]]) -> tuple[str, ...]:
    """The titles of a path without the levels."""
    return tuple(title for _, title in headings)
