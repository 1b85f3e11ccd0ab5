"""`luthier report`: the HTML report of a run folder."""

from __future__ import annotations

import os
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
    salvage: Annotated[
        bool,
        typer.Option("--salvage", help="Leave out runs whose rows in the ledger are damaged."),
    ] = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print the table as CSV, and write no report.")
    ] = False,
    mlflow: Annotated[
        str | None,
        typer.Option(help="Also write runs of MLflow to this address or folder.", metavar="PLACE"),
    ] = None,
    wandb: Annotated[
        Path | None,
        typer.Option(help="Also write offline runs of Weights & Biases here.", metavar="FOLDER"),
    ] = None,
) -> None:
    """Write the report of a comparison from its ledger, and print where it is.

    Of a run folder that cannot be written to it stands in the working folder.
    """
    from luthier.cli.console import data, talk
    from luthier.compare.assemble import load_comparison
    from luthier.report import terminal_table, write_html

    comparison = load_comparison(run, salvage=salvage)
    if as_csv:
        from luthier.table_forms import csv_text

        typer.echo(csv_text(comparison.to_rows()), nl=False)
        return
    inside = run / "report.html" if os.access(run, os.W_OK) else Path(f"{run.resolve().name}.html")
    if mlflow is not None:
        from luthier.report.trackers.mlflow_runs import write_mlflow

        talk().print(f"{write_mlflow(comparison, mlflow)} runs written to {mlflow}")
    if wandb is not None:
        from luthier.report.trackers.wandb_runs import write_wandb

        talk().print(f"{write_wandb(comparison, wandb)} runs written to {wandb}")
    page = write_html(comparison, out or inside)
    if table:
        data().print(terminal_table(comparison))
    typer.echo(str(page))
