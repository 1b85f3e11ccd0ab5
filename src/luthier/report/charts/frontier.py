"""Quality against cost, with the Pareto frontier: the techniques that no other beats on both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from luthier.report.charts.grid import grid
from luthier.report.charts.placing import Box, place
from luthier.report.charts.quantity import Quantity
from luthier.report.charts.scale import Scale, linear_ticks, log_ticks, padded, spans_decades
from luthier.report.charts.svg import drawing, element, marker, shortened, text_width, titled


@dataclass(frozen=True, slots=True)
class FrontierPoint:
    """One technique: `cost` (lower is better) and `score` with its interval."""

    name: str
    cost: float
    score: float
    low: float | None = None
    high: float | None = None
    cls: str = ""
    shape: str = "circle"
    strong: bool = False


def on_frontier(
    points: Sequence[FrontierPoint], *, higher_is_better: bool = True
) -> list[FrontierPoint]:
    """The points that no other point beats on both axes, cheapest first."""
    sign = 1.0 if higher_is_better else -1.0
    kept: list[FrontierPoint] = []
    for point in sorted(points, key=lambda p: (p.cost, -sign * p.score)):
        if not kept or sign * point.score > sign * kept[-1].score:
            kept.append(point)
    return kept


def frontier(
    points: Sequence[FrontierPoint],
    *,
    cost: Quantity,
    score: Quantity,
    higher_is_better: bool = True,
    narrow: bool = False,
) -> str:
    """The plot as SVG; "" with no point. The cost axis is logarithmic where costs span decades."""
    if not points:
        return ""
    width, tall = (360.0, 270.0) if narrow else (900.0, 380.0)
    costs = [p.cost for p in points]
    log = spans_decades(costs)
    if log:
        x_scale = Scale(min(costs) / 1.6, max(costs) * 1.6, 52.0, width - 14.0, log=True)
        x_ticks = log_ticks(x_scale.low, x_scale.high, most=4 if narrow else 8)
    else:
        low, high = padded(min(costs), max(costs), share=0.12, least=0.2 * max(costs), floor=0.0)
        x_scale = Scale(low, high, 52.0, width - 14.0)
        x_ticks = linear_ticks(low, high, about=3 if narrow else 7)
    ends = [v for p in points for v in (p.score, p.low, p.high) if v is not None]
    low, high = padded(
        min(ends), max(ends), least=0.1 * max(map(abs, ends)), floor=score.low, ceiling=score.high
    )
    y_scale = Scale(low, high, tall, 26.0)
    front = on_frontier(points, higher_is_better=higher_is_better)
    axis_name = cost.name + (", logarithmic" if log else "")
    parts = [
        grid(x_scale, y_scale, x_ticks, cost.ticks(x_ticks), up=score),
        element("text", x=2.0, y=13.0, text=score.name, cls="axis-name"),
        element("text", x=x_scale.end, y=tall + 38, text=axis_name, cls="axis-name end"),
        _steps(front, x_scale, y_scale),
        _points(points, x_scale, y_scale, cost, score, front=front, numbered=narrow),
    ]
    height = tall + 48
    if narrow:
        parts.append(_key(points, top=height, width=width))
        height += 20 * ((len(points) + 1) // 2) + 10
    names = ", ".join(p.name for p in front)
    label = f"{score.name} against {cost.name}. On the frontier: {names}."
    return drawing(*parts, width=width, height=height, label=label, cls="frontier")


def _steps(front: list[FrontierPoint], x: Scale, y: Scale) -> str:
    """A staircase: up to the next cost nothing better is to be had."""
    path = ""
    for index, point in enumerate(front):
        px, py = x.at(point.cost), y.at(point.score)
        path += f"M{px:.1f} {py:.1f}" if index == 0 else f"H{px:.1f}V{py:.1f}"
    return element("path", d=f"{path}H{x.end:.1f}", cls="front")


def _points(
    points: Sequence[FrontierPoint],
    x: Scale,
    y: Scale,
    cost: Quantity,
    score: Quantity,
    *,
    front: Sequence[FrontierPoint],
    numbered: bool,
) -> str:
    at = [(x.at(p.cost), y.at(p.score)) for p in points]
    taken = [Box(px - 6, py - 6, px + 6, py + 6) for px, py in at]
    stairs = [*(x.at(p.cost) for p in front), x.end]
    taken += [  # the staircase: names keep off it
        Box(left, y.at(p.score) - 2, right, y.at(p.score) + 2)
        for p, left, right in zip(front, stairs[:-1], stairs[1:], strict=True)
    ]
    page = Box(x.start + 2, y.end - 8, x.end, y.start - 4)
    parts = []
    order = sorted(range(len(points)), key=lambda i: not points[i].strong)
    labels: dict[int, str] = {}
    for i in order:
        text = str(i + 1) if numbered else shortened(points[i].name, 210)
        box, anchor = place(at[i], text_width(text) + 2, page=page, taken=taken)
        taken.append(box)
        px = {"start": box.left, "end": box.right, "middle": (box.left + box.right) / 2}[anchor]
        where = {"start": "", "end": " end", "middle": " mid"}[anchor]
        cls = "name strong" if points[i].strong else "name"
        labels[i] = element("text", x=px, y=box.bottom - 4, text=text, cls=cls + where)
    for i, point in enumerate(points):
        px, py = at[i]
        inner = []
        if point.low is not None and point.high is not None:
            inner.append(
                element(
                    "line",
                    x1=px,
                    x2=px,
                    y1=y.at(point.low),
                    y2=y.at(point.high),
                    cls="whisker thin",
                )
            )
        radius = 7.0 if point.strong else 5.4
        inner += [marker(point.shape, px, py, radius=radius, cls="point"), labels[i]]
        title = f"{point.name}: {score.write(point.score)} at {cost.write(point.cost)}"
        parts.append(titled(title, *inner, cls=point.cls))
    return "".join(parts)


def _key(points: Sequence[FrontierPoint], *, top: float, width: float) -> str:
    """On a phone the points carry numbers; this is the list of their names."""
    rows = (len(points) + 1) // 2
    parts = []
    for i, point in enumerate(points):
        left, y = (0.0 if i < rows else width / 2), top + 16 + 20 * (i % rows)
        name = shortened(f"{i + 1}  {point.name}", width / 2 - 22)
        parts.append(
            element(
                "g",
                marker(point.shape, left + 8, y - 4, radius=5.0, cls="point"),
                element("text", x=left + 20, y=y, text=name, cls="name"),
                cls=point.cls,
            )
        )
    return "".join(parts)
