"""Sections to passages: pieces of bounded length that end where sentences or paragraphs do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from luthier.errors import from_extra
from luthier.retrieval.ingest.document import Document
from luthier.retrieval.types import IndexSettings, Passage

LONG_LINE = 20_000  # characters


def cut_passages(document: Document, source: str, settings: IndexSettings) -> Iterator[Passage]:
    """The passages of every section; the text of one is exactly `document.text[start:end]`.

    The id is a hash of the content and its place, so that a passage that an edit does not touch
    keeps its id.
    """
    splitter = _splitter(settings)
    for section in document.sections:
        body = document.text[section.start : section.end]
        for offset, piece in _pieces(body, splitter, settings.chunk_characters):
            text = piece.strip()
            if not text:
                continue
            start = section.start + offset + piece.index(text)
            identity = [source, start, text, section.page, section.headings, dict(section.metadata)]
            key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]
            yield Passage(
                key, text, source, start, start + len(text),
                section.page, section.headings, section.metadata,
            )  # fmt: skip


def _pieces(body: str, splitter: Any, characters: int) -> Iterator[tuple[int, str]]:
    """The pieces of a section, with where each begins.

    The splitter's time grows with the square of a line's length: very long lines are cut into
    stretches first.
    """
    if len(body) <= characters:
        yield 0, body
        return
    stretch = max(LONG_LINE, 20 * characters)
    if max(map(len, body.split("\n"))) <= stretch:
        yield from splitter.chunk_indices(body)
        return
    at = 0
    while at < len(body):
        end = min(len(body), at + stretch)
        if end < len(body):
            window = body[end - stretch // 10 : end]
            best = max(window.rfind(mark) + len(mark) for mark in ("\n", ". ", "。"))
            best = best if best > 1 else window.rfind(" ") + 1
            end = end - len(window) + best if best > 0 else end
        for offset, piece in splitter.chunk_indices(body[at:end]):
            yield at + offset, piece
        at = end


def _splitter(settings: IndexSettings):  # type: ignore[no-untyped-def]
    with from_extra("rag", "Cutting documents needs a library that is not installed"):
        from semantic_text_splitter import TextSplitter
    return TextSplitter(settings.chunk_characters, overlap=settings.overlap_characters)
