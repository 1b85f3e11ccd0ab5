"""Writing SVG: one function for an element, everything escaped."""

from __future__ import annotations

from html import escape

Value = str | float | int


def element(name: str, *children: str, text: str | None = None, **attributes: Value) -> str:
    """`element("line", x1=0, cls="axis")`: `cls` is class, `_` in names is `-`.

    Floats get one decimal. `children` are markup already; `text` is escaped.
    """
    written = "".join(
        f' {"class" if key == "cls" else key.replace("_", "-")}="{_value(value)}"'
        for key, value in attributes.items()
        if value != ""
    )
    inner = "".join(children) + (escape(text, quote=False) if text is not None else "")
    return f"<{name}{written}>{inner}</{name}>" if inner else f"<{name}{written}/>"


def drawing(*children: str, width: float, height: float, label: str, cls: str = "") -> str:
    """A whole drawing that scales down with its container; screen readers read out `label`."""
    return element(
        "svg",
        *children,
        viewBox=f"0 0 {_value(width)} {_value(height)}",
        width=width,
        height=height,
        role="img",
        aria_label=label,
        cls=f"chart {cls}".strip(),
    )


def titled(title: str, *children: str, cls: str = "") -> str:
    """A group that shows `title` when the pointer is over it."""
    return element("g", element("title", text=title), *children, cls=cls)


def text_width(text: str, *, size: float = 13.0) -> float:
    """About how many pixels a sans-serif text takes: enough to keep labels apart."""
    narrow = sum(character in "iljtfr.,:;|!'()[] " for character in text)
    wide = sum(character in "mwMW%@—→" for character in text)
    return size * (0.56 * (len(text) - narrow - wide) + 0.31 * narrow + 0.86 * wide)


def shortened(text: str, room: float, *, size: float = 13.0) -> str:
    """The text, cut with an ellipsis when it is wider than `room` pixels: among the settings in
    its parentheses, so that the base after them stays, or else at its end."""
    if text_width(text, size=size) <= room:
        return text
    head, bracket, after = text.rpartition(")")
    tail = bracket + after
    if not bracket or "(" not in head or text_width(tail, size=size) > 0.7 * room:
        head, tail = text, ""
    while head and text_width(f"{head}…{tail}", size=size) > room:
        head = head[:-1]
    return f"{head.rstrip()}…{tail}"


def marker(shape: str, x: float, y: float, *, radius: float = 5.0, cls: str = "") -> str:
    """A point whose shape, not only its colour, tells the family."""
    r = radius
    points = {
        "square": [(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)],
        "diamond": [(0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)],
        "triangle": [(0, -1.2), (1.15, 0.85), (-1.15, 0.85)],
        "pentagon": [(0, -1.15), (1.1, -0.35), (0.68, 0.95), (-0.68, 0.95), (-1.1, -0.35)],
        "hexagon": [
            (-1.1, 0),
            (-0.55, -0.95),
            (0.55, -0.95),
            (1.1, 0),
            (0.55, 0.95),
            (-0.55, 0.95),
        ],
        "wedge": [(0, 1.2), (1.15, -0.85), (-1.15, -0.85)],
    }.get(shape)
    if points is None:
        return element("circle", cx=x, cy=y, r=r, cls=cls)
    corners = " ".join(f"{_value(x + r * dx)},{_value(y + r * dy)}" for dx, dy in points)
    return element("polygon", points=corners, cls=cls)


def _value(value: Value) -> str:
    if isinstance(value, float):
        return f"{value:.1f}".removesuffix(".0")
    return escape(str(value), quote=True)
