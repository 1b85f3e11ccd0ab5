"""The answered rows as a file: the columns of the input, and behind them those of the answer."""

from __future__ import annotations

import csv
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from luthier.errors import StorageError, UserError
from luthier.serving.files.prediction_journal import Answer
from luthier.serving.files.prediction_rows import PredictionRows

# What is said of each row, in this order; the last two only where the model gives them.
COLUMNS = ("answer", "probability", "probabilities", "citations")
FORMATS = (".csv", ".tsv", ".jsonl", ".parquet")


def check_output(out: Path, rows: PredictionRows) -> None:
    """UserError, before anything is answered, for a suffix that is not written, a folder that is
    not there, or columns of the input that would be overwritten."""
    if out.suffix.lower() not in FORMATS:
        raise UserError(
            f"{out.name}: no writer for {out.suffix or 'a file without a suffix'}",
            choices=FORMATS,
            next_step="Give --out one of these suffixes.",
        )
    if not out.absolute().parent.is_dir():
        raise UserError(f"--out {out}: its folder does not exist", next_step="Make it first.")
    if out.is_dir():
        raise UserError(f"--out {out} is a folder", next_step="Name a file.")
    taken = [name for name in COLUMNS if name in rows.columns]
    if taken:
        raise UserError(
            f"{rows.path.name} has a column {taken[0]!r} already, which the answers are written to",
            next_step="Rename it in the file.",
        )


def write_output(out: Path, rows: PredictionRows, answers: dict[int, Answer]) -> None:
    """Write all rows with their answers: the whole file or nothing. StorageError where the disk
    fails."""
    names = [name for name in COLUMNS if any(name in answer for answer in answers.values())]
    handle, scratch = tempfile.mkstemp(prefix=f".{out.name}-", dir=out.absolute().parent)
    os.close(handle)
    place = Path(scratch)
    try:
        suffix = out.suffix.lower()
        if suffix == ".parquet":
            _write_parquet(place, rows, answers, names)
        elif suffix == ".jsonl":
            _write_lines(place, rows, answers)
        else:
            _write_csv(place, rows, answers, names, "\t" if suffix == ".tsv" else ",")
        place.chmod(0o644)
        os.replace(place, out)
    except OSError as error:
        raise StorageError(
            f"Could not write {out}: {error.strerror or error}",
            next_step="Free some space and run the same command again: no answer is lost.",
        ) from error
    finally:
        place.unlink(missing_ok=True)


def _whole(rows: PredictionRows, answers: dict[int, Answer]) -> Iterator[dict[str, Any]]:
    for number, row in enumerate(rows.rows):
        yield {**row, **answers.get(number, {})}


def _write_lines(place: Path, rows: PredictionRows, answers: dict[int, Answer]) -> None:
    with place.open("w", encoding="utf-8") as stream:
        for row in _whole(rows, answers):
            stream.write(json.dumps(row, default=str) + "\n")


def _write_csv(
    place: Path, rows: PredictionRows, answers: dict[int, Answer], names: Sequence[str],
    delimiter: str,
) -> None:  # fmt: skip
    with place.open("w", encoding="utf-8", newline="", errors="surrogatepass") as stream:
        writer = csv.writer(stream, delimiter=delimiter)
        header = [*rows.columns, *names]
        writer.writerow(header)
        for row in _whole(rows, answers):
            writer.writerow([_cell(row.get(name)) for name in header])


def _cell(value: Any) -> Any:
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return "" if value is None else value


def _write_parquet(
    place: Path, rows: PredictionRows, answers: dict[int, Answer], names: Sequence[str]
) -> None:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise UserError(
            "writing Parquet needs the package pyarrow, which is not installed",
            next_step="pip install 'luthier[data]', or give --out the suffix .csv or .jsonl.",
        ) from error
    whole = list(_whole(rows, answers))
    columns: dict[str, Any] = {}
    for name in (*rows.columns, *names):
        values = [row.get(name) for row in whole]
        if name in names and any(isinstance(v, dict | list) for v in values):
            values = [None if v is None else json.dumps(v, ensure_ascii=False) for v in values]
        try:
            columns[name] = pyarrow.array(values)
        except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError):  # a column of several types
            columns[name] = pyarrow.array([None if v is None else str(v) for v in values])
    parquet.write_table(pyarrow.table(columns), place)
