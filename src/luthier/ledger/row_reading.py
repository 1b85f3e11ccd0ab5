"""Records out of the ledger's rows; a damaged one is refused by its name."""

from __future__ import annotations

from typing import TypeVar

from luthier.errors import StorageError
from luthier.safety.saved_parts import check_types
from luthier.serialization import DAMAGE, loads

T = TypeVar("T")


def read_row(kind: type[T], text: str, *, row: str, next_step: str | None = None) -> T:
    """The record of class `kind` in a row of the ledger. StorageError, with the row, where it is
    damaged."""
    try:
        record = loads(kind, text)
        check_types(record, kind, kind.__name__.lower())
    except DAMAGE as error:
        raise StorageError(
            f"The ledger is damaged: {row} cannot be read ({type(error).__name__}: {error})",
            next_step=next_step
            or "The folders of its techniques open by themselves: luthier ask FOLDER/TECHNIQUE. "
            "Compare again into another --out folder.",
        ) from error
    return record
