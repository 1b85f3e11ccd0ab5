"""Rows of plain values as an HTML table for a notebook, as a pandas frame, and as CSV."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Mapping, Sequence
from typing import Any

from luthier.errors import UserError

Rows = Sequence[Mapping[str, Any]]
_CELL = "padding:.2em .8em;text-align:"


def html_table(rows: Rows, *, caption: str = "", below: str = "", bold: str | None = None) -> str:
    """A table with a header. Text stands left and numbers right, None is "–"; the row whose first
    cell is `bold` stands out."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    numeric = {n for n in names if all(isinstance(r.get(n), int | float | None) for r in rows)}
    side = {n: "right" if n in numeric else "left" for n in names}
    head = "".join(f'<th style="{_CELL}{side[n]}">{html.escape(n)}</th>' for n in names)
    lines = []
    for row in rows:
        cells = "".join(f'<td style="{_CELL}{side[n]}">{_shown(row.get(n))}</td>' for n in names)
        weight = ' style="font-weight:bold"' if bold is not None and row[names[0]] == bold else ""
        lines.append(f"<tr{weight}>{cells}</tr>")
    title = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    words = f"<p>{html.escape(below)}</p>" if below else ""
    body = "".join(lines)
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{words}"


def frame(rows: Rows) -> Any:
    """The rows as a pandas DataFrame. UserError where pandas is not installed."""
    try:
        import pandas
    except ImportError as error:
        raise UserError(
            "a frame needs the package pandas, which is not installed",
            next_step="pip install pandas",
        ) from error
    return pandas.DataFrame(list(rows))


def csv_text(rows: Rows) -> str:
    """The rows as CSV with a header; None is an empty cell."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return html.escape(str(value))
