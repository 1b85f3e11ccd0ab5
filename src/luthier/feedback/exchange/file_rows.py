"""Rows of a JSON or JSON Lines file, each with its place; what cannot be read is told, not lost."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.errors import FeedbackError
from luthier.ledger.artifacts import write_text


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that was left out: the line (or the number of the record), and the reason."""

    place: int
    reason: str


def read_rows(path: Path) -> tuple[list[tuple[int, dict[str, Any]]], list[BadRow], str]:
    """(place, object) of each row, the rows that are none, and what a place counts ("line" or
    "record"). FeedbackError for a file that cannot be read."""
    try:
        text = path.read_bytes().decode("utf-8-sig", errors="replace")
    except OSError as error:
        raise FeedbackError(
            f"{path} cannot be read: {error.strerror or error}", next_step="Give another file."
        ) from error
    if text.lstrip().startswith("["):
        return _from_array(text, path)
    rows: list[tuple[int, dict[str, Any]]] = []
    bad: list[BadRow] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            _take(json.loads(line), number, rows, bad)
        except (ValueError, RecursionError) as error:
            bad.append(BadRow(number, f"no JSON: {error}"))
    return rows, bad, "line"


def write_rows(path: Path, rows: Iterable[object], *, lines: bool) -> None:
    """Write rows as JSON Lines or as one JSON array, completely or not at all."""
    if lines:
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    else:
        text = json.dumps(list(rows), ensure_ascii=False, indent=1) + "\n"
    write_text(path, text)


def _from_array(
    text: str, path: Path
) -> tuple[list[tuple[int, dict[str, Any]]], list[BadRow], str]:
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FeedbackError(
            f"{path} begins as a JSON array and is none: {error}",
            next_step="Mend it, or write one JSON object a line, of which good ones are kept.",
        ) from error
    rows: list[tuple[int, dict[str, Any]]] = []
    bad: list[BadRow] = []
    for number, value in enumerate(whole, 1):
        _take(value, number, rows, bad)
    return rows, bad, "record"


def _take(
    value: Any, place: int, rows: list[tuple[int, dict[str, Any]]], bad: list[BadRow]
) -> None:
    if isinstance(value, dict):
        rows.append((place, value))
    else:
        bad.append(BadRow(place, f"a {type(value).__name__}, and a row is an object"))
