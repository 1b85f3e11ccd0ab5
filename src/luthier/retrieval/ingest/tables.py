"""CSV and JSONL, a section for each row. Short fields are metadata for filters."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from typing import Any

from luthier.retrieval.ingest.document import Document, Section, UnreadableError, join_parts
from luthier.retrieval.ingest.text import decoded
from luthier.tabular import (
    SNIFFED_LINES,
    column_name,
    find_delimiter,
    separator_line,
    without_formula,
)

TEXT_FIELDS = ("text", "content", "body", "passage", "contents")
TITLE_FIELDS = ("title", "heading", "name")
LONGEST_LABEL = 120


def read_csv(data: bytes) -> Document:
    """A table with a header line, separated by commas, semicolons, tabs or bars."""
    lines = decoded(data).splitlines(keepends=True)
    named = separator_line(lines[0]) if lines else None
    if named is not None:
        del lines[0]
    delimiter = named or find_delimiter(lines[:SNIFFED_LINES])
    csv.field_size_limit(2**31 - 1)
    try:
        rows = [row for row in csv.reader(lines, delimiter=delimiter, strict=True) if any(row)]
    except csv.Error as error:
        raise UnreadableError(f"it is not a well-formed table: {error}") from None
    header = [column_name(cell) for cell in rows[0]] if rows else []
    if any(any(cell.strip() for cell in row[len(header) :]) for row in rows):
        raise UnreadableError("a row has more fields than the header line")
    cells = [{k: without_formula(v) for k, v in zip(header, row, strict=False)} for row in rows[1:]]
    return _document([{k: v for k, v in row.items() if v} for row in cells])


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
