"""The table that `make bench` prints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table


def show(records: Iterable[Mapping[str, Any]], console: Console | None = None) -> None:
    """One row a line of the results, ours and the peer's in units a second."""
    table = Table(title="Measured side by side in one process")
    for name in ("job", "peer", "ours", "theirs", "measured", "must be", "n", "results", "verdict"):
        table.add_column(name)
    for r in records:
        if r["kind"] == "ratio":
            table.add_row(
                r["job"],
                r["peer"],
                _speed(r["luthier"], r["unit"]),
                _speed(r["peer_side"], r["unit"]),
                f"{r['ratio']:.1f}×",
                "–" if r["must_be"] is None else f"≥ {r['must_be']:g}×",
                str(r["rounds"]),
                "equal" if r["equal"]["holds"] else f"differ by {r['equal']['gap']:.2g}",
                r["verdict"] or "–",
            )
        else:
            share = r["kind"] == "share of peak"
            sign = "≤" if r["at_most"] else "≥"
            table.add_row(
                r["job"],
                "–",
                "–",
                "–",
                f"{r['value']:.0%}" if share else f"{r['value']:+.2f}",
                _asked(r["must_be"], sign, share=share),
                "–",
                "–",
                r["verdict"] or "–",
            )
    (console or Console()).print(table)


def _asked(bound: float | None, sign: str, *, share: bool) -> str:
    if bound is None:
        return "–"
    return f"{sign} {bound:.0%}" if share else f"{sign} {bound:g}"


def _speed(side: Mapping[str, Any], unit: str) -> str:
    seconds = side["seconds_a_unit"]
    if seconds < 0.1:
        return f"{1 / seconds:,.0f} {unit}s/s"
    return f"{seconds:.2f} s/{unit}"
