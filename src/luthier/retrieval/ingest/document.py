"""A document as it was read: its text, and the stretches that belong together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from luthier.errors import UserError


@dataclass(frozen=True, slots=True)
class Section:
    """A stretch of a document's text that no passage reaches across; `end` is excluded."""

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
    """A document cannot be read; the problem says why, the document is named by the caller."""


Reader = Callable[[bytes], Document]


def joined(parts: list[tuple[str, Section]], between: str = "\n\n") -> Document:
    """One text of many parts; each section's positions are set to where its part came to lie."""
    pieces: list[str] = []
    sections: list[Section] = []
    at = 0
    for text, section in parts:
        pieces.append(text)
        sections.append(
            Section(at, at + len(text), section.headings, section.page, section.metadata)
        )
        at += len(text) + len(between)
    return Document(between.join(pieces), tuple(sections))


def under(headings: list[tuple[int, str]], level: int, title: str) -> list[tuple[int, str]]:
    """The path of headings after one of `level` (1 is the highest)."""
    return [h for h in headings if h[0] < level] + [(level, title)]


def titles(headings: list[tuple[int, str]]) -> tuple[str, ...]:
    """The titles of a path without the levels."""
    return tuple(title for _, title in headings)
