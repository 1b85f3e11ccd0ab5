"""`luthier report`: the HTML report of a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="A run folder (runs/<id>).")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where to write it.  \\[default: in the run]")
    ] = None,
    table: Annotated[
        bool, typer.Option("--table", help="Also print the table of the comparison.")
    ] = False,
) -> None:
    """Write the report of a comparison from its ledger, and print where it is."""
    from luthier.cli.console import data
    from luthier.compare.comparison import Comparison
    from luthier.report import terminal_table, write_html

    comparison = Comparison.load(run)
    page = write_html(comparison, out or run / "report.html")
    if table:
        data().print(terminal_table(comparison))
    typer.echo(str(page))
