"""Learning curves: quality against the number of training examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from luthier.report.charts.grid import grid
from luthier.report.charts.quantity import Quantity
from luthier.report.charts.scale import Scale, linear_ticks, log_ticks, padded, spans_decades
from luthier.report.charts.svg import drawing, element, marker, shortened, text_width, titled


@dataclass(frozen=True, slots=True)
class CurveMark:
    """Mean score over seeds when fitted on `train_examples`, and the range around it."""

    train_examples: int
    score: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Curve:
    """One technique's points, fewest examples first. `dash` is an SVG dash pattern or ""."""

    name: str
    points: tuple[CurveMark, ...]
    cls: str = ""
    shape: str = "circle"
    dash: str = ""


def learning_curves(curves: Sequence[Curve], *, score: Quantity, narrow: bool = False) -> str:
    """The plot as SVG; "" when no curve has a point. Names stand at the right ends of the lines."""
    curves = [c for c in curves if c.points]
    if not curves:
        return ""
    width, tall = (360.0, 270.0) if narrow else (900.0, 360.0)
    size = 12.0 if narrow else 13.0
    limit = 112.0 if narrow else 210.0
    room = min(max(text_width(c.name, size=size) for c in curves), limit) + 16
    counts = sorted({p.train_examples for c in curves for p in c.points})
    log = counts[0] > 0 and spans_decades(counts, factor=4.0)
    low, high = (
        (counts[0] * 0.93, counts[-1] * 1.07)
        if log
        else padded(counts[0], counts[-1], least=1.0, share=0.04, floor=0.0)
    )
    x = Scale(low, high, 46.0, width - room, log=log)
    ends = [v for c in curves for p in c.points for v in (p.score, p.low, p.high) if v is not None]
    low, high = padded(
        min(ends), max(ends), least=0.1 * max(map(abs, ends)), floor=score.low, ceiling=score.high
    )
    y = Scale(low, high, tall, 26.0)
    ticks: Sequence[float] = (
        counts
        if len(counts) <= (4 if narrow else 9)
        else (log_ticks(x.low, x.high, most=6) if log else linear_ticks(x.low, x.high, about=5))
    )
    parts = [
        grid(x, y, ticks, [f"{t:,.0f}" for t in ticks], up=score),
        element("text", x=2.0, y=13.0, text=score.name, cls="axis-name"),
        element(
            "text",
            x=x.end,
            y=tall + 38,
            cls="axis-name end",
            text="training examples" + (", logarithmic" if log else ""),
        ),
        *[_line(c, x, y, score) for c in curves],
        *_names(curves, x, y, room - 14, size),
    ]
    label = f"{score.name} against training examples: " + "; ".join(
        f"{c.name} from {score.write(c.points[0].score)} with {c.points[0].train_examples} "
        f"to {score.write(c.points[-1].score)} with {c.points[-1].train_examples}"
        for c in curves
    )
    return drawing(*parts, width=width, height=tall + 46, label=label, cls="curves")


def _line(curve: Curve, x: Scale, y: Scale, score: Quantity) -> str:
    at = [(x.at(p.train_examples), y.at(p.score)) for p in curve.points]
    path = "M" + "L".join(f"{px:.1f} {py:.1f}" for px, py in at)
    parts = [element("path", d=path, cls="line", stroke_dasharray=curve.dash)]
    for point, (px, py) in zip(curve.points, at, strict=True):
        title = f"{curve.name}, {point.train_examples:,} examples: {score.write(point.score)}"
        inner = [marker(curve.shape, px, py, radius=4.2, cls="point")]
        if point.low is not None and point.high is not None:
            title += f" ({score.write(point.low)}–{score.write(point.high)})"
            bar = element(
                "line", x1=px, x2=px, y1=y.at(point.low), y2=y.at(point.high), cls="whisker thin"
            )
            inner.insert(0, bar)
        parts.append(titled(title, *inner))
    return element("g", *parts, cls=curve.cls)


def _names(curves: Sequence[Curve], x: Scale, y: Scale, room: float, size: float) -> list[str]:
    """Names at the ends, pushed apart so that none covers another."""
    wanted = sorted(curves, key=lambda c: y.at(c.points[-1].score))
    heights: list[float] = []
    for curve in wanted:
        at = y.at(curve.points[-1].score) + 4.5
        heights.append(max(at, heights[-1] + 16) if heights else max(at, 34.0))
    overflow = heights[-1] - (y.start + 2)
    for index in range(len(heights) - 1, -1, -1):
        if overflow > 0:
            below = heights[index + 1] - 16 if index + 1 < len(heights) else y.start + 2
            heights[index] = min(heights[index], below)
    parts = []
    for curve, height in zip(wanted, heights, strict=True):
        end = curve.points[-1]
        px, py = x.at(end.train_examples), y.at(end.score)
        parts.append(
            element(
                "g",
                element(
                    "path",
                    d=f"M{px + 6:.1f} {py:.1f}L{x.end + 6:.1f} {height - 4.5:.1f}",
                    cls="leader",
                ),
                element(
                    "text",
                    x=x.end + 9,
                    y=height,
                    text=shortened(curve.name, room, size=size),
                    cls="name coloured",
                ),
                cls=curve.cls,
            )
        )
    return parts
