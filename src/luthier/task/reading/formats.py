"""Data files: read by suffix, with errors that name the file and the next step."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from luthier.errors import TaskError, did_you_mean_file
from luthier.task.reading.columns import Rows
from luthier.task.reading.text_lines import csv_rows, jsonl_rows
from luthier.task.reading.whole_files import json_rows, parquet_rows

FORMATS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")


def read_file(path: Path, *, encoding: str, columns: Sequence[str]) -> Rows:
    """The rows of a data file, by its suffix. Columns other than `columns` may be left out."""
    _check_file(path)
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        yield from parquet_rows(path, columns)
        return
    readers = {".csv": csv_rows, ".tsv": csv_rows, ".json": json_rows}
    reader = readers.get(suffix, jsonl_rows)
    try:
        with path.open(encoding=encoding, newline="") as stream:
            yield from reader(path, stream, columns)
    except UnicodeError as error:
        raise _wrong_encoding(path, encoding, error) from error
    except OSError as error:
        raise TaskError(
            f"cannot read {path}: {error.strerror or error}",
            next_step="Check the path and its permissions.",
        ) from error


def _check_file(path: Path) -> None:
    try:
        folder, file = path.is_dir(), path.is_file()
        size = path.stat().st_size if file else 0
    except (OSError, ValueError) as error:
        raise TaskError(
            f"cannot read {str(path)!r}: {error}", next_step="Check the path."
        ) from error
    if folder:
        inside = sorted(p.name for p in path.iterdir() if p.suffix.lower() in FORMATS)[:20]
        raise TaskError(
            f"{path} is a folder, not a data file",
            choices=inside,
            next_step="Name a file in it." if inside else "Name a data file.",
        )
    if not file:
        raise _no_such_file(path)
    if path.suffix.lower() not in FORMATS:
        raise TaskError(
            f"{path.name}: no reader for {path.suffix or 'a file without a suffix'}",
            choices=FORMATS,
            next_step="Convert it to one of these, or name a Python function that yields its rows "
            "as dicts: `data: prepare.py:rows`.",
        )
    if not size:
        raise TaskError(f"{path} is empty (0 bytes)", next_step="Name a file with rows in it.")


def _no_such_file(path: Path) -> TaskError:
    try:
        beside = sorted(p.name for p in path.parent.iterdir() if p.suffix.lower() in FORMATS)
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


def _wrong_encoding(path: Path, encoding: str, error: UnicodeError) -> TaskError:
    shown = "utf-8" if encoding == "utf-8-sig" else encoding
    with path.open("rb") as stream:
        start = stream.read(4)
        if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
            likely = "utf-16"
        else:
            likely = "cp1252" if shown == "utf-8" else "utf-8"
        stream.seek(0)
        offset, byte = _first_undecodable(stream, encoding)
    place = f"byte {byte:#04x} at offset {offset:,}" if byte is not None else str(error)
    return TaskError(
        f"{path.name} is not {shown}: {place}",
        choices=("utf-8", "utf-16", "cp1252", "latin-1", "shift_jis", "gb18030"),
        next_step=f"Save it as UTF-8, or say how it was written: `encoding: {likely}`.",
    )


def _first_undecodable(stream: Any, encoding: str) -> tuple[int, int | None]:
    """The offset and the byte at which decoding fails; the exception counts from its own chunk."""
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    position = 0
    while True:
        chunk = stream.read(1 << 16)
        try:
            pending = len(decoder.getstate()[0])
            decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            return position - pending + error.start, error.object[error.start]
        except UnicodeError:
            return position, None
        if not chunk:
            return position, None
        position += len(chunk)
