"""Finding a place for a name beside a point where it covers no other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Anchor = Literal["start", "end", "middle"]
_LINE = 17.0  # height of a line of 13 px text


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels, y growing downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: Box) -> float:
        """The area both share."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(wide, 0.0) * max(high, 0.0)

    def outside(self, page: Box) -> float:
        """How many pixels of it are outside the page, summed over all sides."""
        return (
            max(page.left - self.left, 0.0)
            + max(self.right - page.right, 0.0)
            + max(page.top - self.top, 0.0)
            + max(self.bottom - page.bottom, 0.0)
        )


def place(
    point: tuple[float, float], width: float, *, page: Box, taken: Sequence[Box]
) -> tuple[Box, Anchor]:
    """The box for a label near `point`: the nearest free place, else the least covered."""
    best: tuple[float, Box, Anchor] | None = None
    for cost, box, anchor in _candidates(point, width):
        price = cost + sum(box.overlap(other) for other in taken) + 40 * box.outside(page)
        if best is None or price < best[0]:
            best = (price, box, anchor)
    assert best is not None  # _candidates is never empty
    return best[1], best[2]


def _candidates(point: tuple[float, float], width: float) -> list[tuple[float, Box, Anchor]]:
    """Right first, then left, above, below, then further away; the number is how far from ideal."""
    x, y = point
    found: list[tuple[float, Box, Anchor]] = []
    for step in range(4):
        for up in (0.0,) if step == 0 else (-14.0 * step, 14.0 * step):
            top = y - _LINE / 2 + up
            cost = 6.0 * step
            found.append((cost, Box(x + 10, top, x + 10 + width, top + _LINE), "start"))
            found.append((cost + 1, Box(x - 10 - width, top, x - 10, top + _LINE), "end"))
    for cost, top in ((3.0, y - 10 - _LINE), (4.0, y + 10), (14.0, y - 28 - _LINE), (15.0, y + 28)):
        half = width / 2
        found.append((cost, Box(x - half, top, x + half, top + _LINE), "middle"))
    return found
