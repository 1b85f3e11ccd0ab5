"""Parquet, which is read in batches: names in place of class numbers, and times as text."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from luthier.errors import TaskError
from luthier.task.reading.columns import Rows, check_columns, check_named_once

BATCH = 1024


def parquet_rows(path: Path, columns: Sequence[str]) -> Rows:
    """The rows of a Parquet file, with the wanted columns only.

    Classes that `datasets` has written as numbers come back as their names.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise TaskError(
            f"{path.name}: reading Parquet needs the package pyarrow",
            next_step="pip install 'luthier[data]', or convert the file to CSV or JSONL.",
        ) from error
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            names = list(schema.names)
            check_columns(columns, names, path.name)
            check_named_once(columns, names, path.name, next_step="Rename one of them.")
            classes = class_names(_features(schema.metadata))
            for batch in file.iter_batches(batch_size=BATCH, columns=list(columns)):
                table = {
                    c: _values(pyarrow, batch.column(batch.schema.get_field_index(c)))
                    for c in columns
                }
                for cells in zip(*table.values(), strict=True):
                    number += 1
                    row = dict(zip(table, cells, strict=True))
                    yield number, {c: named(v, classes.get(c)) for c, v in row.items()}
    # pyarrow's errors are OSError, ValueError and kin of both, by version.
    except (OSError, ValueError, TypeError, NotImplementedError, KeyError) as error:
        raise TaskError(
            f"{path.name} is not a Parquet file that can be read: {str(error)[:160]}",
            next_step="Write it again, or convert it to CSV or JSONL.",
        ) from error


def class_names(features: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The names of the classes of each column whose numbers stand for classes, also in lists.

    `features` are those of `datasets`, as its objects or as it writes them into a file.
    """
    found: dict[str, tuple[str, ...]] = {}
    for column, feature in features.items():
        inner = feature
        for _ in range(3):  # a list of a list of classes
            names = _part(inner, "names")
            if isinstance(names, Sequence) and not isinstance(names, str) and names:
                found[column] = tuple(str(name) for name in names)
                break
            inner = inner[0] if isinstance(inner, list) and inner else _part(inner, "feature")
    return found


def named(value: Any, names: Sequence[str] | None) -> Any:
    """A class by its name; -1 means that the label is withheld. Lists are named one by one."""
    if names is None or value is None or isinstance(value, bool):
        return value
    if isinstance(value, list | tuple):
        return [named(one, names) for one in value]
    if not isinstance(value, int):
        return value
    if value < 0:
        return None
    if value >= len(names):
        raise TaskError(
            f"class number {value}, and only {len(names)} classes have names",
            choices=names,
            next_step="Write the data set again.",
        )
    return names[value]


def _part(feature: Any, name: str) -> Any:
    return feature.get(name) if isinstance(feature, Mapping) else getattr(feature, name, None)


def _features(metadata: Mapping[bytes, bytes] | None) -> Mapping[str, Any]:
    """What `datasets` keeps about the columns beside them."""
    try:
        kept = json.loads((metadata or {}).get(b"huggingface", b"{}"))
        features = kept["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return features if isinstance(features, Mapping) else {}


def _values(pyarrow: Any, column: Any) -> list[Any]:
    """The cells of a column. Times that Python cannot express are text."""
    types, kind = pyarrow.types, column.type
    if types.is_dictionary(kind):
        column, kind = column.dictionary_decode(), kind.value_type
    if types.is_timestamp(kind):
        return _first_that_works(
            lambda: column.cast(pyarrow.timestamp("us", kind.tz)).to_pylist(),  # no digit is lost
            lambda: [_plain_time(v) for v in _cast(column, pyarrow.timestamp(kind.unit))],
        )
    if (types.is_time64(kind) and kind.unit == "ns") or types.is_duration(kind):
        whole = pyarrow.time64("us") if types.is_time64(kind) else pyarrow.duration("us")
        return _first_that_works(
            lambda: column.cast(whole).to_pylist(),
            lambda: column.cast(whole, safe=False).to_pylist(),
            lambda: column.cast(pyarrow.int64()).to_pylist(),
        )
    if types.is_date(kind):
        return _first_that_works(column.to_pylist, lambda: _cast(column, kind))
    if types.is_float32(kind) or types.is_float16(kind):
        # 0.1 in single precision is 0.1, and not 0.10000000149011612.
        narrow = np.float32 if types.is_float32(kind) else np.float16
        return [None if v is None else float(str(narrow(v))) for v in column.to_pylist()]
    return list(column.to_pylist())


def _cast(column: Any, kind: Any) -> list[str | None]:
    import pyarrow

    return list(column.cast(kind).cast(pyarrow.string()).to_pylist())


def _plain_time(text: str | None) -> str | None:
    """A time without zeros at the end of its seconds."""
    return text.rstrip("0").rstrip(".") if text and "." in text else text


def _first_that_works(*ways: Callable[[], list[Any]]) -> list[Any]:
    for way in ways[:-1]:
        try:
            return way()
        except (ValueError, OverflowError, OSError, KeyError, TypeError, LookupError):
            continue
    return ways[-1]()
