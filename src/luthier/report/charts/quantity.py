"""A quantity on an axis: what it is called and how its values are written."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from luthier.report.charts.scale import spans_decades


@dataclass(frozen=True, slots=True)
class Quantity:
    """`write` gives a value in full, for labels; `unit` wraps a bare number on the axis.

    Without a `unit`, ticks are written by `write` too. `low` and `high` are the ends of its range.
    """

    name: str
    write: Callable[[float], str]
    unit: Callable[[str], str] | None = None
    low: float | None = None
    high: float | None = None
    signed: bool = False

    def ticks(self, values: Sequence[float]) -> list[str]:
        """Labels for an axis: as few decimals as tell them apart, and over decades each its own."""
        if self.unit is None:
            return [self.write(value) for value in values]
        decimals = [_decimals(value) for value in values]
        if not spans_decades(values):
            decimals = [max(decimals, default=0)] * len(decimals)
        pairs = zip(values, decimals, strict=True)
        return [self.unit(self._bare(value, digits)) for value, digits in pairs]

    def _bare(self, value: float, decimals: int) -> str:
        if value == 0:
            return "0"
        sign = "\u2212" if value < 0 else "+" if self.signed else ""
        return f"{sign}{abs(value):,.{decimals}f}"


def plain(number: str) -> str:
    """The `unit` of a quantity whose numbers have none."""
    return number


def _decimals(value: float) -> int:
    """Decimals that a tick needs; ticks have at most three significant figures."""
    if value == 0:
        return 0
    most = max(0, 2 - math.floor(math.log10(abs(value))))
    return len(f"{value:.{most}f}".rstrip("0").partition(".")[2])
