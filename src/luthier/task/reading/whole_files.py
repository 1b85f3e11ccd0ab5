"""JSON, which is read whole: in the many forms in which rows are kept in it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from luthier.errors import TaskError
from luthier.task.reading.columns import Rows
from luthier.task.reading.text_lines import parse_json

MOST_JSON_CHARACTERS = 500_000_000
SPLIT_KEYS = ("train", "dev", "validation", "valid", "val", "test")
# Keys under which a JSON object may keep its rows, in the order in which they are tried.
LIST_KEYS = ("data", "rows", "examples", "records", "train")


def json_rows(path: Path, stream: TextIO, columns: Sequence[str]) -> Rows:
    """The objects of a JSON file.

    They are a list, a list under a key, an object of objects, columns that hold lists or objects,
    as pandas writes tables, or objects one after the other, as in JSONL.
    """
    text = stream.read(MOST_JSON_CHARACTERS + 1)
    if len(text) > MOST_JSON_CHARACTERS:
        raise TaskError(
            f"{path.name} has more than {MOST_JSON_CHARACTERS:,} characters; a JSON file is read "
            "whole, up to that",
            next_step="Write it as JSONL, one object a line: that is read row by row.",
        )
    text = text.lstrip("\ufeff")
    values = _values_in(text)
    rows = values if values and len(values) > 1 else None
    if rows is None:
        rows = _rows_in(values[0] if values else parse_json(text, path.name), columns)
    if rows is None:
        raise TaskError(
            f"{path.name} holds no list of objects",
            next_step='Write [{"message": "...", "queue": "..."}, ...], or that list under the key '
            "`data`.",
        )
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping):
            raise TaskError(
                f"{path.name}, row {number} is a {type(row).__name__}, not an object",
                next_step='Every row must be an object: {"message": "...", "queue": "..."}',
            )
        yield number, row


def _values_in(text: str) -> list[Any] | None:
    """The value of a JSON text, or the objects of JSONL that is called JSON; None for neither."""
    values: list[Any] = []
    decoder, at = json.JSONDecoder(), 0
    try:
        while at < len(text):
            if text[at].isspace():
                at += 1
                continue
            if values and text[at] != "{":
                return None
            value, at = decoder.raw_decode(text, at)
            values.append(value)
    except (ValueError, RecursionError):
        return None
    return values


def _rows_in(found: Any, columns: Sequence[str]) -> list[Any] | None:
    if isinstance(found, list):
        return found
    if not isinstance(found, Mapping):
        return None
    table = _rows_of_columns(found, columns)
    if table is not None:
        return table
    lists = {k: v for k, v in found.items() if isinstance(v, list)}
    names, cells = lists.get("columns"), lists.get("data")
    if names and cells and all(isinstance(row, list) for row in cells):
        return [dict(zip(names, row, strict=False)) for row in cells]
    for key in LIST_KEYS:
        if key in lists:
            _check_only_one(key, lists)
            return lists[key]
    if len(lists) == 1:
        return next(iter(lists.values()))
    # An object of objects, keyed by id.
    if found and not lists and all(isinstance(v, Mapping) for v in found.values()):
        return list(found.values())
    return None


def _check_only_one(key: str, lists: Mapping[str, list[Any]]) -> None:
    """TaskError where further splits lie beside the rows: they would be left out in silence."""
    others = [name for name in lists if name in SPLIT_KEYS and name != key and lists[name]]
    if key in SPLIT_KEYS and others:
        raise TaskError(
            f"the JSON file holds rows under {key!r}, {', '.join(map(repr, others))}",
            next_step="Write each list into a file of its own, and name the files in `split`.",
        )


def _rows_of_columns(
    found: Mapping[str, Any], columns: Sequence[str]
) -> list[dict[str, Any]] | None:
    """Rows from {column: [cells]} or {column: {row: cell}}; None for anything else."""
    table = [found.get(column) for column in columns]
    if not columns or not all(isinstance(cells, list | Mapping) for cells in table):
        return None
    first = table[0]
    alike = all(type(cells) is type(first) for cells in table)
    if isinstance(first, Mapping):
        if not alike or not all(cells.keys() == first.keys() for cells in table):  # type: ignore[union-attr]
            return None
        return [{c: found[c][key] for c in columns} for key in first]
    if not alike or len({len(cells) for cells in table}) > 1:  # type: ignore[arg-type]
        return None
    return [dict(zip(columns, row, strict=True)) for row in zip(*table, strict=True)]
