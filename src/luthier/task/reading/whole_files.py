"""JSON, which is read whole, and Parquet, which is read in batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from luthier.errors import TaskError
from luthier.task.reading.columns import Rows, check_columns
from luthier.task.reading.text_lines import parse_json

MOST_JSON_BYTES = 500_000_000
# Keys under which a JSON object may keep its rows, in the order in which they are tried.
LIST_KEYS = ("data", "rows", "examples", "records", "train")


def json_rows(path: Path, stream: TextIO, columns: Sequence[str]) -> Rows:
    """The objects of a JSON file: a list, a list under a key, or an object of objects."""
    size = path.stat().st_size
    if size > MOST_JSON_BYTES:
        raise TaskError(
            f"{path.name} has {size:,} bytes; a JSON file is read whole, up to {MOST_JSON_BYTES:,}",
            next_step="Write it as JSONL, one object a line: that is read row by row.",
        )
    found = parse_json(stream.read(), path.name)
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


def parquet_rows(path: Path, columns: Sequence[str]) -> Rows:
    """The rows of a Parquet file, with the wanted columns only."""
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
            check_columns(columns, list(file.schema_arrow.names), path.name)
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
