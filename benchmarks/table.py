"""The tables that `make bench` prints: ratios to a peer, then shares and slopes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table


def show(records: Iterable[Mapping[str, Any]], console: Console | None = None) -> None:
    """One row a line of the results; `n` counts the rounds. Reads well in 80 columns."""
    kept, console = list(records), console or Console()
    ratios = [r for r in kept if r["kind"] == "ratio"]
    others = [r for r in kept if r["kind"] != "ratio"]
    if ratios:
        table = _table("Side by side in one process", "job", "ours", "theirs", "ratio", "must be")
        table.add_column("n")
        table.add_column("verdict")
        for r in ratios:
            table.add_row(
                f"{r['job']}\n[dim]{r['peer']}; time per {r['unit']}",
                _seconds(r["luthier"]["seconds_a_unit"]),
                _seconds(r["peer_side"]["seconds_a_unit"]),
                f"{r['ratio']:.3g}×",
                "–" if r["must_be"] is None else f"≥ {r['must_be']:g}×",
                str(r["rounds"]),
                _verdict(r),
            )
        console.print(table)
    if others:
        table = _table("Shares of the machine; slopes of growth", "line", "measured", "must be")
        table.add_column("verdict")
        for r in others:
            share, bound = r["kind"] == "share of peak", r["must_be"]
            asked = "–" if bound is None else f"{bound:.0%}" if share else f"{bound:g}"
            table.add_row(
                r["job"] if share else f"{r['job']}\n[dim]{r['kind']}",
                f"{r['value']:.0%}" if share else f"{r['value']:+.2f}",
                asked if bound is None else f"{'≤' if r['at_most'] else '≥'} {asked}",
                r["verdict"] or "–",
            )
        console.print(table)


def _table(title: str, first: str, *numbers: str) -> Table:
    table = Table(title=title, show_lines=True)
    table.add_column(first, overflow="fold")
    for name in numbers:
        table.add_column(name, no_wrap=True, justify="right")
    return table


def _seconds(seconds: float) -> str:
    if seconds >= 100:
        return f"{seconds:,.0f} s"
    if seconds >= 0.1:
        return f"{seconds:.3g} s"
    return f"{1000 * seconds:.3g} ms"


def _verdict(record: Mapping[str, Any]) -> str:
    if not record["equal"]["holds"]:
        return f"results differ by {record['equal']['gap']:.2g}"
    return record["verdict"] or "–"
