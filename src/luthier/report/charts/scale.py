"""From amounts to positions on paper: a linear or logarithmic scale, and where its ticks go."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps [low, high] to [start, end] in pixels. `log` needs low > 0."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """The pixel of a value; values outside are clamped to the ends."""
        value = min(max(value, self.low), self.high)
        share = (self._units(value) - self._units(self.low)) / (
            self._units(self.high) - self._units(self.low)
        )
        return self.start + share * (self.end - self.start)

    def _units(self, value: float) -> float:
        return math.log10(value) if self.log else value


def spans_decades(values: Iterable[float], *, factor: float = 8.0) -> bool:
    """Whether a logarithmic axis is needed: all positive, largest over smallest above `factor`."""
    known = list(values)
    return len(known) > 1 and min(known) > 0 and max(known) / min(known) > factor


def linear_ticks(low: float, high: float, *, about: int = 5) -> list[float]:
    """Round values (1, 2, 2.5, 5 times a power of ten) inside [low, high], two or more."""
    if high <= low:
        return [low]
    raw = (high - low) / max(about, 1)
    while True:
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
        first = math.ceil(low / step - 1e-9)
        last = math.floor(high / step + 1e-9)
        if last > first:  # one tick alone says nothing
            digits = 2 - math.floor(math.log10(step))
            return [round(k * step, digits) for k in range(first, last + 1)]
        raw /= 2


def log_ticks(low: float, high: float, *, most: int = 7) -> list[float]:
    """Powers of ten inside [low, high]; with 2 and 5 between them, or 1 to 9, when few fit."""
    bottom, top = math.floor(math.log10(low)), math.ceil(math.log10(high))
    powers = range(bottom, top + 1)
    choices = [
        [m * 10.0**p for p in powers for m in steps]
        for steps in ((1, 2, 3, 4, 5, 6, 7, 8, 9), (1, 2, 5), (1, 3), (1,))
    ]
    choices += [[10.0**p for p in powers if p % every == 0] for every in (2, 3, 4)]
    inside = [[t for t in c if low * 0.999 <= t <= high * 1.001] for c in choices]
    return next((ticks for ticks in inside if 2 <= len(ticks) <= most), inside[-1])


def padded(
    low: float,
    high: float,
    *,
    share: float = 0.06,
    floor: float | None = None,
    ceiling: float | None = None,
    least: float = 0.0,
) -> tuple[float, float]:
    """[low, high] with room on both sides, at least `least` wide, kept inside [floor, ceiling]."""
    width = max(high - low, least, 1e-9)
    middle = (low + high) / 2
    low, high = middle - width * (0.5 + share), middle + width * (0.5 + share)
    if floor is not None and low < floor:
        low = floor
    if ceiling is not None and high > ceiling:
        high = ceiling
    return low, high
