"""A sparkline: how one number moved during a fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from luthier.report.charts.scale import Scale
from luthier.report.charts.svg import drawing, element

_MOST = 160  # points; more than a line this wide can show


def sparkline(
    values: Sequence[tuple[float, float]],
    *,
    name: str,
    write: Callable[[float], str],
    width: float = 180.0,
    height: float = 34.0,
) -> str:
    """A line through (step, value) pairs, its last point marked; "" with fewer than two."""
    if len(values) < 2:
        return ""
    every = -(-len(values) // _MOST)
    kept = [*values[:-1:every], values[-1]]
    steps, heights = [s for s, _ in kept], [v for _, v in kept]
    if steps[-1] <= steps[0]:
        return ""
    low, high = min(heights), max(heights)
    x = Scale(steps[0], steps[-1], 3.0, width - 4.0)
    y = Scale(low, high if high > low else low + 1.0, height - 4.0, 4.0)
    at = [(x.at(s), y.at(v)) for s, v in kept]
    path = "M" + "L".join(f"{px:.1f} {py:.1f}" for px, py in at)
    label = f"{name}: from {write(heights[0])} to {write(heights[-1])} over {len(values)} points"
    return drawing(
        element("title", text=label),
        element("path", d=path, cls="line"),
        element("circle", cx=at[-1][0], cy=at[-1][1], r=2.6, cls="point"),
        width=width,
        height=height,
        label=label,
        cls="spark",
    )
