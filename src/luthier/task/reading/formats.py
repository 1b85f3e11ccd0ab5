"""Data files: read by suffix, with errors that name the file and the next step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from luthier.errors import TaskError, did_you_mean_file
from luthier.safety.plain_files import open_plain
from luthier.task.reading.columns import Rows
from luthier.task.reading.open_text import data_suffix, open_text
from luthier.task.reading.parquet import parquet_rows
from luthier.task.reading.text_lines import csv_rows, jsonl_rows
from luthier.task.reading.whole_files import json_rows

FORMATS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")


def read_file(path: Path, *, encoding: str, columns: Sequence[str]) -> tuple[str, Rows]:
    """What the numbers of rows count ("line" or "row"), and the rows of a data file, by its suffix.

    Columns other than `columns` may be left out.
    """
    _check_file(path)
    suffix = data_suffix(path)
    if suffix == ".parquet":
        return "row", parquet_rows(path, columns)
    if suffix not in (".csv", ".tsv"):
        with open_text(path, encoding) as stream:
            is_list = stream.read(1000).lstrip("\ufeff \t\r\n").startswith("[")
        suffix = ".json" if is_list else suffix  # a list of objects may be called JSONL
    return "row" if suffix == ".json" else "line", _text_rows(path, suffix, encoding, columns)


def _text_rows(path: Path, suffix: str, encoding: str, columns: Sequence[str]) -> Rows:
    readers = {".csv": csv_rows, ".tsv": csv_rows, ".json": json_rows}
    with open_text(path, encoding) as stream:
        yield from readers.get(suffix, jsonl_rows)(path, stream, columns)


def _check_file(path: Path) -> None:
    try:
        folder, file = path.is_dir(), path.is_file()
        size = path.stat().st_size if file else 0
    except (OSError, ValueError) as error:
        raise TaskError(
            f"cannot read {str(path)!r}: {error}", next_step="Check the path."
        ) from error
    if folder:
        inside = sorted(p.name for p in path.iterdir() if data_suffix(p) in FORMATS)[:20]
        raise TaskError(
            f"{path} is a folder, not a data file",
            choices=inside,
            next_step="Name a file in it." if inside else "Name a data file.",
        )
    if not file:
        raise _no_such_file(path)
    if data_suffix(path) not in FORMATS:
        raise TaskError(
            f"{path.name}: no reader for {path.suffix or 'a file without a suffix'}",
            choices=(*FORMATS, "and these with .gz, .bz2 or .xz"),
            next_step="Convert it to one of these, or name a Python function that yields its rows "
            "as dicts: `data: prepare.py:rows`.",
        )
    try:
        open_plain(path).close()
    except OSError as error:
        raise TaskError(
            f"cannot read {path}: {error.strerror or error}", next_step="Name a file with rows."
        ) from error
    if not size:
        raise TaskError(f"{path} is empty (0 bytes)", next_step="Name a file with rows in it.")


def _no_such_file(path: Path) -> TaskError:
    try:
        beside = sorted(p.name for p in path.parent.iterdir() if data_suffix(p) in FORMATS)
    except OSError:
        return TaskError(
            f"there is no file {path}: its folder does not exist",
            next_step="A relative path counts from the folder of the task file.",
        )
    step = did_you_mean_file(path.name, beside)
    return TaskError(
        f"there is no file {path}",
        choices=beside[:20],
        next_step=step or "A relative path counts from the folder of the task file.",
    )
