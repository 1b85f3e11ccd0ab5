"""`luthier ask`: one answer from a saved model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def ask(
    folder: Annotated[
        str,
        typer.Argument(help="A technique's folder (runs/<id>/lora), a run folder, or any model."),
    ],
    text: Annotated[str, typer.Argument(help="The input; - reads it from stdin.")],
    context: Annotated[
        str | None, typer.Option(help="A passage to answer from.", show_default=False)
    ] = None,
) -> None:
    """Ask an adapted model. A run folder answers with the verdict's pick."""
    from luthier.cli.console import only_data_on_stdout
    from luthier.compare.run import open_model

    asked = sys.stdin.read() if text == "-" else text
    with only_data_on_stdout():
        answer = open_model(picked(folder)).ask(asked, context=context)
    typer.echo(answer)


def picked(folder: str) -> str:
    """The folder of the pick where `folder` is that of a run; anything else as it is.

    Raises StorageError where a run has no pick yet.
    """
    from luthier.compare.assemble import LEDGER
    from luthier.compare.comparison import Comparison
    from luthier.errors import StorageError

    if not (Path(folder) / LEDGER).is_file():
        return folder
    comparison = Comparison.load(folder)
    pick = comparison.verdict.pick
    if pick is None:
        raise StorageError(
            f"The comparison in {folder} has no pick: {comparison.verdict.because}",
            next_step="Run the comparison to its end, or name one technique's folder.",
        )
    return comparison.row(pick).path or folder
