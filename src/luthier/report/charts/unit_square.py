"""Curves in the unit square: ROC, reliability, and risk against coverage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from luthier.report.charts.scale import Scale
from luthier.report.charts.svg import drawing, element, marker, shortened, titled

TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, slots=True)
class SquareCurve:
    """One curve. `bars` are the low and the high end at each point; None: no bar there. `points`
    are drawn as markers where `marked`."""

    name: str
    points: tuple[tuple[float, float], ...]
    bars: tuple[tuple[float, float] | None, ...] = ()
    cls: str = "f-prompt"
    shape: str = "circle"
    dash: str = ""
    marked: bool = False


def unit_square(
    curves: Sequence[SquareCurve],
    *,
    across: str,
    up: str,
    diagonal: str = "",
    narrow: bool = False,
) -> str:
    """The plot as SVG; "" when no curve has a point. `across` and `up` name the axes, `diagonal`
    what the line from corner to corner means; without it there is none."""
    curves = [curve for curve in curves if curve.points]
    if not curves:
        return ""
    width, side = (360.0, 250.0) if narrow else (640.0, 330.0)
    x = Scale(0.0, 1.0, 46.0, 46.0 + side)
    y = Scale(0.0, 1.0, side + 26.0, 26.0)
    parts = [
        _grid(x, y),
        element("text", x=2.0, y=13.0, text=up, cls="axis-name"),
        element("text", x=x.end, y=y.start + 38, text=across, cls="axis-name end"),
    ]
    if diagonal:
        parts.append(
            titled(
                diagonal,
                element("line", x1=x.start, y1=y.start, x2=x.end, y2=y.end, cls="reference"),
            )
        )
    parts += [_curve(curve, x, y) for curve in curves]
    key_x, key_y = (x.start, y.start + 60) if narrow else (x.end + 22, 40.0)
    names = [
        *[(c.name, c.cls, c.shape) for c in curves],
        *([(diagonal, "", "")] if diagonal else []),
    ]
    for number, (name, cls, shape) in enumerate(names):
        at = key_y + 22 * number
        sign = (
            element("g", marker(shape, key_x + 6, at - 4, radius=4.4, cls="point"), cls=cls)
            if cls
            else element("line", x1=key_x, x2=key_x + 13, y1=at - 4, y2=at - 4, cls="reference")
        )
        parts.append(
            sign + element("text", x=key_x + 20, y=at, text=shortened(name, width - key_x - 24),
                           cls="name")
        )  # fmt: skip
    height = y.start + 48 + (22 * len(names) + 10 if narrow else 0)
    label = f"{up} against {across}: " + "; ".join(
        f"{c.name}, {len(c.points)} points, from {c.points[0][1]:.2f} to {c.points[-1][1]:.2f}"
        for c in curves
    )
    return drawing(*parts, width=width, height=height, label=label, cls="curves")


def _grid(x: Scale, y: Scale) -> str:
    parts = []
    for tick in TICKS:
        name = f"{tick:.2f}".rstrip("0").rstrip(".")
        parts += [
            element("line", x1=x.start, x2=x.end, y1=y.at(tick), y2=y.at(tick), cls="grid"),
            element("text", x=x.start - 8, y=y.at(tick) + 4, text=name, cls="tick end"),
            element("line", x1=x.at(tick), x2=x.at(tick), y1=y.start, y2=y.start + 5, cls="axis"),
            element("text", x=x.at(tick), y=y.start + 19, text=name, cls="tick mid"),
        ]
    parts.append(element("line", x1=x.start, x2=x.end, y1=y.start, y2=y.start, cls="axis"))
    return "".join(parts)


def _curve(curve: SquareCurve, x: Scale, y: Scale) -> str:
    at = [(x.at(px), y.at(py)) for px, py in curve.points]
    path = "M" + "L".join(f"{px:.1f} {py:.1f}" for px, py in at)
    parts = [element("path", d=path, cls="line", stroke_dasharray=curve.dash)]
    for number, ((px, py), (sx, sy)) in enumerate(zip(at, curve.points, strict=True)):
        bar = curve.bars[number] if number < len(curve.bars) else None
        title = f"{curve.name}: {sx:.2f}, {sy:.2f}"
        if bar is not None:
            low, high = y.at(bar[0]), y.at(bar[1])
            parts.append(element("line", x1=px, x2=px, y1=low, y2=high, cls="whisker thin"))
            title += f" ({bar[0]:.2f}–{bar[1]:.2f})"
        if curve.marked:
            parts.append(titled(title, marker(curve.shape, px, py, radius=4.2, cls="point")))
    return element("g", *parts, cls=curve.cls)
