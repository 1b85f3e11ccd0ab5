"""Where rows come from: a file, the hub, a bundled set, a Python function, or memory.

A new kind of source is one more function here that yields (place, row).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from luthier.errors import LuthierError, TaskError
from luthier.tabular import column_name
from luthier.task.reading.columns import Row, Rows, check_columns
from luthier.task.reading.formats import read_file
from luthier.task.reading.open_text import encoding_note
from luthier.task.reading.parquet import class_names, named
from luthier.task.reading.python_function import load_function, names_function, split_function

# All rows together: a set that does not fit here does not fit beside a model in 3 GB either.
MOST_CHARACTERS = 200_000_000
# Rows of one source where the task sets no `limit`.
DEFAULT_LIMIT = 200_000
HUB_SOURCE = re.compile(r"hub:([\w.-]+(?:/[\w.-]+)?)(?::([\w.-]+))?(?:#([\w.-]+))?")


@dataclass(frozen=True)
class Table:
    """Rows in memory, with only the columns needed.

    `rows` are (number, row); `place` says what the numbers count: "line" or "row".
    """

    source: str
    place: str
    rows: tuple[tuple[int, Row], ...]
    notes: tuple[str, ...] = ()


def read_source(
    source: str, *, columns: Sequence[str], encoding: str = "utf-8-sig", limit: int | None = None
) -> Table:
    """At most `limit` rows of a source (200,000 where it is None, with a note when that cuts).

    `source` is the path of a file, "hub:org/name[:config][#split]", "bundled:name" or
    "path/file.py:function". Raises TaskError.
    """
    if source.startswith("hub:"):
        return take(_hub(source, columns), source, columns, limit=limit)
    if source.startswith("bundled:"):
        from luthier.task.bundled import bundled_rows

        rows = bundled_rows(source.removeprefix("bundled:"))
        return take(enumerate(rows, 1), source, columns, limit=limit)
    if names_function(source):
        return take(_rows_of_function(source), source, columns, limit=limit)
    path = Path(source)
    place, rows_of_file = read_file(path, encoding=encoding, columns=columns)
    table = take(rows_of_file, path.name, columns, limit=limit, place=place)
    note = encoding_note(path, encoding)
    return replace(table, notes=(*table.notes, note)) if note else table


def take(
    rows: Iterable[tuple[int, Row]],
    source: str,
    columns: Sequence[str],
    *,
    limit: int | None = None,
    place: str = "row",
) -> Table:
    """The first rows of a stream, with the columns needed, and a note where there were more.

    `rows` are (number, row); `place` says what the numbers count. TaskError where there are no rows
    or a column is missing.
    """
    most = limit or DEFAULT_LIMIT
    kept: list[tuple[int, Row]] = []
    seen: dict[str, None] = {}
    notes: list[str] = []
    characters = 0
    for number, row in rows:
        if len(kept) >= most or characters > MOST_CHARACTERS:
            why = "set `limit` to read more or fewer" if limit is None else f"`limit: {limit}`"
            if len(kept) < most:
                why = f"they hold {characters:,} characters; write shorter texts to read more"
            notes.append(f"Only the first {len(kept):,} rows of {source} were read ({why}).")
            break
        if len(seen) < 200:
            seen.update((str(key), None) for key in row)
        if any(c not in row for c in columns):  # the same name in another normal form
            row = {column_name(str(key)): value for key, value in row.items()}
        needed = {c: row[c] for c in columns if c in row}
        characters += sum(len(v) for v in needed.values() if isinstance(v, str))
        kept.append((number, needed))
    if not kept:
        raise TaskError(f"{source} holds no rows", next_step="Name a source with rows in it.")
    found = {column for _, row in kept for column in row}
    if any(column not in found for column in columns):
        check_columns(columns, tuple(c for c in seen if c not in columns or c in found), source)
    return Table(source, place, tuple(kept), tuple(notes))


def _rows_of_function(source: str) -> Rows:
    """Rows from a user's function, which is called without arguments."""
    file, name = split_function(source)
    function = load_function(source)
    try:
        for number, row in enumerate(function(), 1):
            if not isinstance(row, Mapping):
                raise TaskError(
                    f"{file.name}:{name} yielded a {type(row).__name__}, not a dict",
                    next_step="Yield one dict a row.",
                )
            yield number, row
    except LuthierError:
        raise
    except (Exception, SystemExit) as error:
        raise TaskError(
            f"{file.name}:{name} failed: {type(error).__name__}: {error}",
            next_step=f"Mend the function {name} in {file}.",
        ) from error


def _hub(source: str, columns: Sequence[str]) -> Rows:
    """Rows of a set on the Hugging Face hub, from the local cache where it is already there."""
    match = HUB_SOURCE.fullmatch(source)
    if match is None:
        raise TaskError(
            f"{source!r} is no hub source",
            next_step="Write hub:org/name, hub:org/name:config or hub:org/name#validation.",
        )
    name, config, split = match[1], match[2], match[3] or "train"
    try:
        import datasets
    except ImportError as error:
        raise TaskError(
            f"{source}: reading from the hub needs the package datasets",
            next_step="pip install 'luthier[data]', or download the set and name its file.",
        ) from error
    try:
        found: Any = datasets.load_dataset(name, config, split=split)
    # Offline, unknown, gated, a missing configuration or split: each its own exception, by version.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise TaskError(
            f"{source} cannot be loaded: {type(error).__name__}: {reason}",
            next_step="Check the name, the configuration (after `:`) and the split (after `#`), "
            "and that this machine reaches the hub. Offline, download the set elsewhere and "
            "name its file in `data`.",
        ) from error
    check_columns(columns, list(found.column_names), source)
    names = class_names(found.features)
    for number, row in enumerate(found.select_columns(list(columns)), 1):
        yield number, {column: named(value, names.get(column)) for column, value in row.items()}
