"""CSV and JSONL: formats that are read line by line.

Each reader yields (place, row), one row at a time, and keeps no more than that in memory.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from luthier.errors import TaskError
from luthier.task.reading.columns import Rows, check_columns

# One cell or one JSON line: far above any text a model reads, far below what fills a memory.
MOST_LINE_CHARACTERS = 16_000_000


def csv_rows(path: Path, stream: TextIO, columns: Sequence[str]) -> Rows:
    """The rows of a CSV or TSV file. The delimiter (comma, semicolon, bar or tab) is read off the
    header."""
    # The limit is global to the process and small by default (131,072): raise it, never lower it.
    csv.field_size_limit(max(csv.field_size_limit(), MOST_LINE_CHARACTERS))
    lines = _lines(path, stream)
    first = next(lines, "")
    delimiter = "\t" if path.suffix.lower() == ".tsv" else _delimiter(first)

    def all_lines() -> Iterator[str]:
        yield first
        yield from lines

    reader = csv.reader(all_lines(), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    place = 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            raise TaskError(
                f"{path.name}, line {reader.line_num}: {error}",
                next_step=f"Look from line {place} on for a quotation mark that is opened and "
                'never closed, or that is inside a quoted cell: write those twice ("").',
            ) from error
        start, place = place, reader.line_num + 1
        if not any(cell.strip() for cell in cells):
            continue
        if header is None:
            header = [cell.strip() for cell in cells]
            check_columns(columns, header, path.name)
            twice = [c for c in columns if header.count(c) > 1]
            if twice:
                raise TaskError(
                    f"{path.name} has {header.count(twice[0])} columns {twice[0]!r}",
                    choices=header,
                    next_step="Rename one of them in the header.",
                )
            continue
        if len(cells) > len(header):
            raise TaskError(
                f"{path.name}, line {start} has {len(cells)} cells, the header has {len(header)}",
                next_step="Put cells that hold the separator "
                f"({delimiter!r}) or a line break in double quotes.",
            )
        yield start, {**dict.fromkeys(header), **dict(zip(header, cells, strict=False))}
    if header is None:
        raise TaskError(f"{path} holds no header and no rows", next_step="Name a file with rows.")


def _delimiter(header: str) -> str:
    return "," if "," in header else max(",;\t|", key=header.count)


def jsonl_rows(path: Path, stream: TextIO, columns: Sequence[str]) -> Rows:
    """The rows of a JSONL file, one object on each line."""
    for number, line in enumerate(_lines(path, stream), 1):
        if not line.strip():
            continue
        row = parse_json(line, f"{path.name}, line {number}")
        if not isinstance(row, Mapping):
            raise TaskError(
                f"{path.name}, line {number} holds a {type(row).__name__}, not an object",
                next_step='Write one object a line: {"message": "...", "queue": "..."}',
            )
        yield number, row


def parse_json(text: str, where: str) -> Any:
    """The JSON value in a text. TaskError, with the place, where it is not JSON."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise TaskError(
            f"{where}: not JSON: {error.msg} at column {error.colno}: {text[:60].strip()!r}",
            next_step="Mend it there; JSONL has one whole object a line, JSON one list for all.",
        ) from error
    # An integer of more than 4,300 digits, or brackets thousands deep.
    except (ValueError, RecursionError) as error:
        raise TaskError(f"{where}: JSON that cannot be read: {error}") from error


def _lines(path: Path, stream: TextIO) -> Iterator[str]:
    number = 0
    while line := stream.readline(MOST_LINE_CHARACTERS):
        number += 1
        if len(line) >= MOST_LINE_CHARACTERS and not line.endswith("\n"):
            raise TaskError(
                f"{path.name}, line {number} is longer than {MOST_LINE_CHARACTERS:,} characters",
                next_step="Is this the format its suffix says? Split the line, or convert it.",
            )
        yield line
