"""CSV and JSONL: formats that are read line by line.

Each reader yields (place, row), one row at a time, and keeps no more than that in memory.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, TextIO

from luthier.errors import TaskError
from luthier.tabular import (
    DELIMITERS,
    SNIFFED_LINES,
    column_name,
    find_delimiter,
    separator_line,
    without_formula,
)
from luthier.task.reading.columns import Rows, check_columns, check_named_once
from luthier.task.reading.open_text import data_suffix

# One cell or one JSON line: far above any text a model reads, far below what fills a memory.
MOST_LINE_CHARACTERS = 16_000_000


def csv_rows(path: Path, stream: TextIO, columns: Sequence[str]) -> Rows:
    """The rows of a CSV or TSV file. The delimiter (comma, semicolon, tab or bar) is the one that
    a line `sep=;` names, or else the one under which the header has the columns."""
    # The limit is global to the process and small by default (131,072): raise it, never lower it.
    csv.field_size_limit(max(csv.field_size_limit(), MOST_LINE_CHARACTERS))
    lines = _lines(path, stream)
    first = list(islice(lines, SNIFFED_LINES))
    skipped, named = 0, separator_line(first[0]) if first else None
    if named is not None:
        skipped, first = 1, first[1:]
    usual = "\t" if data_suffix(path) == ".tsv" else ","
    delimiter = find_delimiter(first, columns, usual=named or usual)
    if named is not None and named not in DELIMITERS:
        delimiter = named
    reader = csv.reader(chain(first, lines), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    place = 1 + skipped
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            raise TaskError(
                f"{path.name}, line {reader.line_num + skipped}: {error}",
                next_step=f"Look from line {place} on for a quotation mark that is opened and "
                'never closed, or that is inside a quoted cell: write those twice ("").',
            ) from error
        start, place = place, reader.line_num + 1 + skipped
        if not any(cell.strip() for cell in cells):
            continue
        if header is None:
            header = [column_name(cell) for cell in cells]
            _check_header(path, header, columns, first, delimiter)
            continue
        while len(cells) > len(header) and not cells[-1].strip():
            cells.pop()
        if len(cells) > len(header):
            raise TaskError(
                f"{path.name}, line {start} has {len(cells)} cells, the header has {len(header)}",
                next_step="Put cells that hold the separator "
                f"({delimiter!r}) or a line break in double quotes.",
            )
        _check_swallowed(path, start, cells, delimiter)
        cells = [without_formula(cell) for cell in cells]
        yield start, {**dict.fromkeys(header), **dict(zip(header, cells, strict=False))}
    if header is None:
        raise TaskError(f"{path} holds no header and no rows", next_step="Name a file with rows.")


def _check_header(
    path: Path, header: list[str], columns: Sequence[str], first: Sequence[str], delimiter: str
) -> None:
    """TaskError where a needed column is missing or occurs twice."""
    wanted = set(columns)
    for number, line in enumerate(first[1:], 2):
        cells = {column_name(c) for c in next(csv.reader([line], delimiter=delimiter), [])}
        if wanted <= cells and not wanted <= set(header):
            raise TaskError(
                f"{path.name}: the header with {', '.join(map(repr, columns))} is line {number}, "
                "and other text stands before it",
                next_step=f"Remove the lines before line {number}.",
            )
    check_columns(columns, header, path.name)
    check_named_once(columns, header, path.name, next_step="Rename one of them in the header.")


def _check_swallowed(path: Path, line: int, cells: Sequence[str], delimiter: str) -> None:
    """TaskError where a quotation mark of tab-separated text has swallowed rows."""
    if delimiter == "\t" and any("\t" in cell and "\n" in cell for cell in cells):
        raise TaskError(
            f"{path.name}, line {line}: a cell in quotation marks holds tabs and line ends, as if "
            "it had swallowed the rows below",
            next_step="A cell that begins with a quotation mark ends at the next one: write the "
            'cell in quotation marks, and those inside twice ("").',
        )


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
