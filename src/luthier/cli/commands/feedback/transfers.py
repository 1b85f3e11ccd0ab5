"""`luthier feedback import` and `export`: opinions from files and into files."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from luthier.cli.commands.feedback.folder import DEFAULT_FOLDER, Folder, open_store
from luthier.cli.shared_options import PrintJson

FORMAT_HELP = "preference, ratings, kto, argilla or label-studio"


def import_(
    file: Annotated[Path, typer.Argument(help="JSON Lines, or one JSON array.")],
    format: Annotated[
        str | None, typer.Option(help=f"{FORMAT_HELP}; found by the fields unless named.")
    ] = None,
    who: Annotated[
        str | None, typer.Option(help="Whose opinions they are; the file's name unless named.")
    ] = None,
    source: Annotated[
        str, typer.Option(help="person, judge, script or serving, where a row does not say it.")
    ] = "person",
    simulated: Annotated[
        bool, typer.Option("--simulated", help="A script that plays a person said it.")
    ] = False,
    batch: Annotated[str, typer.Option(help="A name for these items.", show_default=False)] = "",
    folder: Folder = DEFAULT_FOLDER,
    as_json: PrintJson = False,
) -> None:
    """Take opinions in. Exit code 1 when rows were left out; the others are in."""
    from luthier.cli.commands.feedback.bad_rows import show_bad
    from luthier.cli.console import print_json, talk
    from luthier.feedback.exchange import import_opinions
    from luthier.feedback.exchange.judged import Origin

    origin = Origin(who or file.stem, source, simulated, batch)  # type: ignore[arg-type]
    with open_store(folder, must_exist=False) as store:
        report = import_opinions(store, file, origin=origin, format=format)
    if as_json:
        print_json(asdict(report))
    else:
        talk().print(
            f"{report.new_opinions} opinions on {report.new_items} new items from {report.rows} "
            f"rows ({report.format}); {report.known_opinions} were there already",
            markup=False, soft_wrap=True,
        )  # fmt: skip
        for note in report.notes:
            talk().print(f"note: {note}", markup=False, soft_wrap=True)
    show_bad(report.bad, report.place)


def export(
    file: Annotated[Path, typer.Argument(help="Where to write.")],
    format: Annotated[str, typer.Option(help=f"{FORMAT_HELP}.")] = "preference",
    folder: Folder = DEFAULT_FOLDER,
) -> None:
    """Write opinions for another program."""
    from luthier.cli.console import talk
    from luthier.feedback.exchange import export_opinions

    with open_store(folder) as store:
        rows = export_opinions(store, file, format=format)
    talk().print(f"{rows} rows in {file} ({format})", markup=False, soft_wrap=True)
