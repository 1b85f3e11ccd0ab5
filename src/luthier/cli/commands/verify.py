"""`luthier verify`: the locked test set through a deployed endpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from luthier.cli.shared_options import PrintJson

SHOWN = 5  # answers that differ, for each technique


def verify(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    url: Annotated[str, typer.Option(help="The endpoint: http://host:8000/v1.")],
    techniques: Annotated[
        str | None,
        typer.Option("--techniques", "-t", help="Some of them, with commas.  \\[default: all]"),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="The task file, where its examples have passages.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Only so many examples of each.")] = None,
    as_json: PrintJson = False,
) -> None:
    """Ask every test example through an endpoint, and compare with what was measured.

    Exit code 1 where an answer differs by more than a tie that rounding decides.
    """
    from luthier.cli.console import data, print_json, talk
    from luthier.cli.work_bar import work_bar
    from luthier.compare.comparison import Comparison
    from luthier.serving.endpoint_check import verify_run
    from luthier.task.task import Task

    comparison = Comparison.load(run)
    names = tuple(t.strip() for t in techniques.split(",")) if techniques else ()
    with work_bar(talk(), "answers"):
        verified = verify_run(
            comparison, url, run=run.resolve().name, techniques=names,
            task=None if task is None else Task.load(task), limit=limit,
        )  # fmt: skip
    if as_json:
        print_json({"url": url, "techniques": [each.to_json() for each in verified]})
    else:
        for each in verified:
            share = 100 * each.equal / max(each.examples, 1)
            counts = f"{each.equal} of {each.examples} answers equal"
            if each.ties:
                counts += f" ({each.ties} differ by a tie that rounding decides)"
            data().print(f"{each.technique:<24} {counts}, {share:.3g} %", markup=False)
            for other in each.others[:SHOWN]:
                words = f"measured {other.measured!r}, served {other.served!r}"
                data().print(f"  {other.input[:60]!r}: {words}", markup=False, soft_wrap=True)
    if any(len(each.others) > each.ties for each in verified):
        raise typer.Exit(1)
