"""Sections to passages: pieces of bounded length that end where sentences or paragraphs do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

from luthier.errors import UserError
from luthier.retrieval.ingest.document import Document
from luthier.retrieval.types import IndexSettings, Passage


def cut_passages(document: Document, source: str, settings: IndexSettings) -> Iterator[Passage]:
    """The passages of every section; the text of one is exactly `document.text[start:end]`.

    The id is a hash of the content and its place, so that a passage that an edit does not touch
    keeps its id.
    """
    splitter = _splitter(settings)
    for section in document.sections:
        body = document.text[section.start : section.end]
        pieces = [(0, body)] if len(body) <= settings.chunk_characters else None
        for offset, piece in pieces or splitter.chunk_indices(body):
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


def _splitter(settings: IndexSettings):  # type: ignore[no-untyped-def]
    try:
        from semantic_text_splitter import TextSplitter
    except ImportError as error:
        raise UserError(
            "Cutting documents needs a library that is not installed",
            next_step="pip install 'luthier[rag]'",
        ) from error
    return TextSplitter(settings.chunk_characters, overlap=settings.overlap_characters)
