"""A contact sheet: the same seeds under several prompts, a row for each prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from luthier.images.drawing import Pixels

VISIBLE = 24  # of 255: a change of a channel that an eye sees


@dataclass(frozen=True, slots=True, eq=False)
class SheetRow:
    """One prompt: `term` is the term that is left out, None for a row of another kind, which
    `name` tells. `pictures` and `scores` go by column; `changed` is the share of pixels that differ
    from the first row's, visibly."""

    name: str
    term: int | None
    pictures: tuple[Pixels, ...]
    scores: tuple[float, ...]
    changed: float


@dataclass(frozen=True, slots=True, eq=False)
class ContactSheet:
    """Rows of pictures; the first shows all terms. `columns` are the requests."""

    rows: tuple[SheetRow, ...]
    columns: tuple[str, ...]

    def changed_by(self, term: int) -> float | None:
        """How much of the picture goes another way without a term; None where no row tells."""
        return next((row.changed for row in self.rows if row.term == term), None)


def sheet_of(
    names: Sequence[tuple[str, int | None]], pictures: Sequence[Sequence[Pixels]],
    scores: Sequence[Sequence[float]], columns: Sequence[str],
) -> ContactSheet:  # fmt: skip
    """The sheet of rows of pictures, the first of which the others are compared with."""
    rows = [
        SheetRow(name, term, tuple(drawn), tuple(found), _changed(pictures[0], drawn))
        for (name, term), drawn, found in zip(names, pictures, scores, strict=True)
    ]
    return ContactSheet(tuple(rows), tuple(columns))


def _changed(some: Sequence[Pixels], others: Sequence[Pixels]) -> float:
    shares = [
        float((np.abs(a.astype(np.int16) - b).max(-1) > VISIBLE).mean())
        for a, b in zip(some, others, strict=True)
    ]
    return float(np.mean(shares)) if shares else 0.0
