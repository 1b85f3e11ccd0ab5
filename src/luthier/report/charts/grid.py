"""The ticks, lines and names of two axes: across below, up on the left."""

from __future__ import annotations

from collections.abc import Sequence

from luthier.report.charts.quantity import Quantity
from luthier.report.charts.scale import Scale, linear_ticks
from luthier.report.charts.svg import element


def grid(x: Scale, y: Scale, ticks: Sequence[float], names: Sequence[str], *, up: Quantity) -> str:
    """`ticks` stand across under their `names`; about five of the quantity `up` stand on the
    left."""
    heights = linear_ticks(y.low, y.high, about=5)
    parts = [
        element("line", x1=x.start, x2=x.end, y1=y.at(t), y2=y.at(t), cls="grid")
        + element("text", x=x.start - 8, y=y.at(t) + 4, text=name, cls="tick end")
        for t, name in zip(heights, up.ticks(heights), strict=True)
    ]
    parts += [
        element("line", x1=x.at(t), x2=x.at(t), y1=y.start, y2=y.start + 5, cls="axis")
        + element("text", x=x.at(t), y=y.start + 19, text=name, cls="tick mid")
        for t, name in zip(ticks, names, strict=True)
    ]
    parts.append(element("line", x1=x.start, x2=x.end, y1=y.start, y2=y.start, cls="axis"))
    return "".join(parts)
