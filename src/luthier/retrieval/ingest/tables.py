"""CSV and JSONL, a section for each row. Short fields are metadata for filters."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from typing import Any

from luthier.retrieval.ingest.document import Document, Section, UnreadableError, join_parts
from luthier.retrieval.ingest.text import decoded

TEXT_FIELDS = ("text", "content", "body", "passage", "contents")
TITLE_FIELDS = ("title", "heading", "name")
LONGEST_LABEL = 120


def read_csv(data: bytes) -> Document:
    """A table with a header line, separated by commas, semicolons or tabs."""
    text = decoded(data)
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    csv.field_size_limit(2**31 - 1)
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise UnreadableError(f"it is not a well-formed table: {error}") from None
    for row in rows:
        if None in row:
            raise UnreadableError("a row has more fields than the header line")
    return _document([{k: v for k, v in row.items() if v} for row in rows])


def read_jsonl(data: bytes) -> Document:
    """JSON objects (or strings), one on each line."""
    rows = []
    for number, line in enumerate(decoded(data).split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UnreadableError(f"line {number} is not JSON: {error}") from None
        rows.append(value if isinstance(value, dict) else {"text": value})
    return _document(rows)


def _document(rows: Iterable[Mapping[str, Any]]) -> Document:
    parts = []
    for row in rows:
        fields = {str(k): _plain(v) for k, v in row.items() if v not in (None, "")}
        named = next((f for f in TEXT_FIELDS if fields.get(f)), None)
        title = next((fields[f] for f in TITLE_FIELDS if fields.get(f)), None)
        text = fields[named] if named else "\n".join(f"{k}: {v}" for k, v in fields.items())
        labels = {k: v for k, v in fields.items() if k != named and len(v) <= LONGEST_LABEL}
        if text.strip():
            headings = (title,) if title and named else ()
            parts.append((text, Section(0, 0, headings, None, labels)))
    return join_parts(parts)


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
