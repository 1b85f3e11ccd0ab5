"""The rows of a file that is to be answered, and which of its columns are asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.errors import UserError, did_you_mean
from luthier.records import Example
from luthier.task.reading.cells import cell_text
from luthier.task.reading.columns import Row
from luthier.task.reading.formats import read_file

GUESSED = ("input", "text", "question", "message", "prompt")


@dataclass(frozen=True, slots=True)
class AskedColumns:
    """The column of the input, and that of the passage where there is one."""

    input: str
    passage: str | None = None


@dataclass(frozen=True, slots=True)
class PredictionRows:
    """All rows of a file as they are, and the columns that are asked."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    asked: AskedColumns

    def example(self, number: int) -> Example | None:
        """What is asked in a row, counted from 0; None where its input is empty."""
        row, place = self.rows[number], f"{self.path.name}, row {number + 1}"
        text = cell_text(row.get(self.asked.input), where=f"{place}, {self.asked.input!r}")
        if text is None:
            return None
        passage = None
        if self.asked.passage is not None:
            passage = cell_text(row.get(self.asked.passage), where=place)
        return Example(id=str(number), input=text, target="", context=passage)


def read_rows(
    path: Path, asked: AskedColumns | None, *, encoding: str = "utf-8-sig"
) -> PredictionRows:
    """Every row of a CSV, TSV, JSONL, JSON or Parquet file.

    `asked` None: the column is guessed, where one has a usual name or there is one only. TaskError
    for a file that cannot be read, UserError where it lacks the column or none can be guessed.
    """
    columns: dict[str, None] = {}
    rows: list[dict[str, Any]] = []
    _, found = read_file(path, encoding=encoding, columns=_parquet_columns(path))
    for _, row in found:
        columns.update((str(key), None) for key in row)
        rows.append(dict(row))
    if not rows:
        raise UserError(f"{path} holds no rows", next_step="Give a file with rows in it.")
    names = tuple(columns)
    asked = asked or AskedColumns(_guessed(names, path))
    if asked.passage is not None and asked.passage not in columns:
        asked = AskedColumns(asked.input)
    if asked.input not in columns:
        raise UserError(
            f"{path.name} has no column {asked.input!r}",
            choices=names,
            next_step=did_you_mean(asked.input, names) or "Name the one to ask: --input COLUMN.",
        )
    return PredictionRows(path, names, tuple(rows), asked)


def _parquet_columns(path: Path) -> Sequence[str]:
    """All columns of a Parquet file, whose reader takes only those that are named."""
    if path.suffix.lower() != ".parquet" or not path.is_file():
        return ()
    try:
        from pyarrow import parquet

        return list(parquet.read_schema(path).names)
    except (ImportError, OSError, ValueError):
        return ()  # the reader says what is wrong


def _guessed(columns: Iterable[str], path: Path) -> str:
    names = tuple(columns)
    found = names if len(names) == 1 else tuple(n for n in GUESSED if n in names)
    if not found:
        raise UserError(
            f"{path.name}: which column is asked is not known",
            choices=names,
            next_step="Name it: --input COLUMN.",
        )
    return found[0]
