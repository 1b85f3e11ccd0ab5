"""The interval plot: a row for each technique with score, interval, and seeds as ticks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from luthier.report.charts.quantity import Quantity
from luthier.report.charts.scale import Scale, linear_ticks, padded
from luthier.report.charts.svg import drawing, element, marker, shortened, text_width, titled


@dataclass(frozen=True, slots=True)
class ForestRow:
    """One row. `value` None: there is nothing to draw, and `note` says why.

    `ticks` are single seeds. `cls` holds the classes that colour the row, `shape` is that of its
    marker, `tag` a word beside the name. `words` are written at the right; without them, the value
    and its interval are.
    """

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    ticks: tuple[float, ...] = ()
    note: str = ""
    cls: str = ""
    shape: str = "circle"
    tag: str = ""
    words: str = ""


def forest(
    rows: Sequence[ForestRow],
    *,
    quantity: Quantity,
    label: str,
    narrow: bool = False,
    reference: tuple[float, str] | None = None,
) -> str:
    """The plot as SVG; "" when no row has a value. `reference` is a dashed line and its name."""
    ends = [v for r in rows for v in (r.value, r.low, r.high, *r.ticks) if v is not None]
    if not ends:
        return ""
    if reference is not None:
        ends.append(reference[0])
    width, step = (360.0, 46.0) if narrow else (900.0, 32.0)
    room = max(text_width(_words(row, quantity)) for row in rows) + 22
    left, right = (8.0, width - 8.0) if narrow else (216.0, width - min(room, 330.0))
    low, high = padded(
        min(ends),
        max(ends),
        least=1e-6 + 0.1 * abs(max(ends)),
        floor=quantity.low,
        ceiling=quantity.high,
    )
    scale = Scale(low, high, left, right)
    top = 26.0 if reference is not None else 10.0
    bottom = top + step * len(rows)
    parts = [_grid(scale, linear_ticks(low, high, about=4 if narrow else 7), top, bottom, quantity)]
    if reference is not None:
        parts.append(_reference(scale, reference, top, bottom))
    for index, row in enumerate(rows):
        parts.append(_row(row, scale, quantity=quantity, top=top + step * index, narrow=narrow))
    return drawing(*parts, width=width, height=bottom + 26, label=label, cls="forest")


def _grid(
    scale: Scale, ticks: Sequence[float], top: float, bottom: float, quantity: Quantity
) -> str:
    lines = [
        element("line", x1=scale.at(t), x2=scale.at(t), y1=top, y2=bottom, cls="grid")
        + element("text", x=scale.at(t), y=bottom + 18, text=name, cls="tick mid")
        for t, name in zip(ticks, quantity.ticks(ticks), strict=True)
    ]
    axis = element("line", x1=scale.start, x2=scale.end, y1=bottom, y2=bottom, cls="axis")
    return "".join(lines) + axis


def _reference(scale: Scale, reference: tuple[float, str], top: float, bottom: float) -> str:
    x = scale.at(reference[0])
    half = text_width(reference[1], size=12) / 2
    at = min(max(x, half + 2), scale.end - half + 60)
    return element("line", x1=x, x2=x, y1=top - 8, y2=bottom, cls="reference") + element(
        "text", x=at, y=top - 13, text=reference[1], cls="tick mid"
    )


def _words(row: ForestRow, quantity: Quantity) -> str:
    if row.words or row.value is None:
        return row.words or row.note
    if row.low is None or row.high is None:
        return quantity.write(row.value)
    return f"{quantity.write(row.value)} ({quantity.write(row.low)}–{quantity.write(row.high)})"


def _row(row: ForestRow, scale: Scale, *, quantity: Quantity, top: float, narrow: bool) -> str:
    y = top + (34.0 if narrow else 16.0)
    name = row.name + (f" · {row.tag}" if row.tag else "")
    words = _words(row, quantity)
    cls = "value-text" if row.value is not None else "value-text quiet"
    bold = "name strong" if row.tag else "name"
    if narrow:
        room = scale.end - scale.start - text_width(words, size=12.5) - 10
        parts = [
            element("text", x=scale.start, y=top + 18, text=shortened(name, room), cls=bold),
            element("text", x=scale.end, y=top + 18, text=words, cls=cls + " end"),
        ]
    else:
        shown = shortened(name, scale.start - 16)
        parts = [
            element("text", x=scale.start - 14, y=y + 4.5, text=shown, cls=bold + " end"),
            element("text", x=scale.end + 14, y=y + 4.5, text=words, cls=cls),
        ]
    if row.value is not None:
        if row.low is not None and row.high is not None:
            ends = [scale.at(row.low), scale.at(row.high)]
            parts.append(element("line", x1=ends[0], x2=ends[1], y1=y, y2=y, cls="whisker"))
            parts += [
                element("line", x1=x, x2=x, y1=y - 4.0, y2=y + 4.0, cls="whisker") for x in ends
            ]
        parts += [
            element("line", x1=scale.at(t), x2=scale.at(t), y1=y + 6.0, y2=y + 11.0, cls="seed")
            for t in row.ticks
        ]
        parts.append(marker(row.shape, scale.at(row.value), y, radius=5.2, cls="point"))
    return titled(f"{row.name}: {words}", *parts, cls=row.cls)
