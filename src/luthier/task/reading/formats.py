"""File formats: each reader yields (place, row), one row at a time, and holds no more than that.

A place is the number a person can look up: the line in a text file, the row elsewhere (from 1).
"""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from luthier.errors import TaskError, did_you_mean, did_you_mean_file

Row = Mapping[str, Any]
Rows = Iterator[tuple[int, Row]]

# One cell or one JSON line: far above any text a model reads, far below what fills a memory.
MOST_LINE_CHARACTERS = 16_000_000
# A JSON file is read whole.
MOST_JSON_BYTES = 500_000_000
TEXT_FORMATS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")
FORMATS = (*TEXT_FORMATS, ".parquet")
LIST_KEYS = ("data", "rows", "examples", "records", "train")


def read_file(path: Path, *, encoding: str, columns: Sequence[str]) -> Rows:
    """The rows of a data file, by its suffix. Columns other than `columns` may be left out."""
    _check_file(path)
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        yield from _parquet(path, columns)
        return
    readers = {".csv": _csv, ".tsv": _csv, ".json": _json}
    reader = readers.get(suffix, _jsonl)
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


def missing_columns(wanted: Sequence[str], there: Sequence[str], where: str) -> None:
    """TaskError when a wanted column is not there."""
    missing = [column for column in wanted if column not in there]
    if not missing:
        return
    shown = [str(c) for c in there[:40]]
    close = [did_you_mean(column, shown) for column in missing]
    raise TaskError(
        f"{where} has no column {' and no column '.join(repr(m) for m in missing)}",
        choices=shown,
        next_step=" ".join(c for c in close if c)
        or "Name one of these columns in `input`, `target`, `passage`, `group` or `id`.",
    )


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


def _csv(path: Path, stream: TextIO, columns: Sequence[str]) -> Rows:
    """Comma, semicolon, bar or tab: what the header is made of."""
    # The limit is global to the process and small by default (131,072): raise it, never lower it.
    csv.field_size_limit(max(csv.field_size_limit(), MOST_LINE_CHARACTERS))
    lines = _lines(path, stream)
    first = next(lines, "")
    delimiter = "\t" if path.suffix.lower() == ".tsv" else _delimiter(first)

    def again() -> Iterator[str]:
        yield first
        yield from lines

    reader = csv.reader(again(), delimiter=delimiter, strict=True)
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
                'never closed, or that stands inside a quoted cell: write those twice ("").',
            ) from error
        start, place = place, reader.line_num + 1
        if not any(cell.strip() for cell in cells):
            continue
        if header is None:
            header = [cell.strip() for cell in cells]
            missing_columns(columns, header, path.name)
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


def _jsonl(path: Path, stream: TextIO, columns: Sequence[str]) -> Rows:
    for number, line in enumerate(_lines(path, stream), 1):
        if not line.strip():
            continue
        row = _parse(line, f"{path.name}, line {number}")
        if not isinstance(row, Mapping):
            raise TaskError(
                f"{path.name}, line {number} holds a {type(row).__name__}, not an object",
                next_step='Write one object a line: {"message": "...", "queue": "..."}',
            )
        yield number, row


def _json(path: Path, stream: TextIO, columns: Sequence[str]) -> Rows:
    size = path.stat().st_size
    if size > MOST_JSON_BYTES:
        raise TaskError(
            f"{path.name} has {size:,} bytes; a JSON file is read whole, up to {MOST_JSON_BYTES:,}",
            next_step="Write it as JSONL, one object a line: that is read row by row.",
        )
    found = _parse(stream.read(), path.name)
    rows = _list_in(found)
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


def _list_in(found: Any) -> list[Any] | None:
    if isinstance(found, list):
        return found
    if not isinstance(found, Mapping):
        return None
    lists = {k: v for k, v in found.items() if isinstance(v, list)}
    for key in LIST_KEYS:
        if key in lists:
            return lists[key]
    if len(lists) == 1:
        return next(iter(lists.values()))
    # An object of objects, keyed by id.
    if found and not lists and all(isinstance(v, Mapping) for v in found.values()):
        return list(found.values())
    return None


def _parse(text: str, where: str) -> Any:
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


def _parquet(path: Path, columns: Sequence[str]) -> Rows:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise TaskError(
            f"{path.name}: reading Parquet needs the package pyarrow",
            next_step="pip install 'luthier[data]', or convert the file to CSV or JSONL.",
        ) from error
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            missing_columns(columns, list(file.schema_arrow.names), path.name)
            for batch in file.iter_batches(batch_size=1024, columns=list(columns)):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    # pyarrow's errors are OSError, ValueError and kin of both, by version.
    except (OSError, ValueError, TypeError, NotImplementedError, KeyError) as error:
        raise TaskError(
            f"{path.name} is not a Parquet file that can be read: {str(error)[:160]}",
            next_step="Write it again, or convert it to CSV or JSONL.",
        ) from error


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
    """Where in the file decoding fails; the exception alone counts from its own chunk."""
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
