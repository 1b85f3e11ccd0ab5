"""Rows as readers yield them, and the check that they have the columns a task needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from luthier.errors import TaskError, did_you_mean

Row = Mapping[str, Any]
# (place, row): the place is the number a person can look up, a line or a row, from 1.
Rows = Iterator[tuple[int, Row]]


def check_columns(needed: Sequence[str], found: Sequence[str], where: str) -> None:
    """TaskError, with the columns there are, where a needed column is missing."""
    missing = [column for column in needed if column not in found]
    if not missing:
        return
    shown = [str(c) for c in found[:40]]
    close = [did_you_mean(column, shown) for column in missing]
    raise TaskError(
        f"{where} has no column {' and no column '.join(repr(m) for m in missing)}",
        choices=shown,
        next_step=" ".join(c for c in close if c)
        or "Name one of these columns in `input`, `target`, `passage`, `group` or `id`.",
    )


def check_named_once(
    needed: Sequence[str], found: Sequence[str], where: str, *, next_step: str
) -> None:
    """TaskError where the name of a needed column is that of several."""
    twice = [column for column in needed if found.count(column) > 1]
    if twice:
        raise TaskError(
            f"{where} has {found.count(twice[0])} columns {twice[0]!r}",
            choices=found,
            next_step=next_step,
        )
