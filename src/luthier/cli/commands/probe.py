"""`luthier probe`: what a base knows, before anything is fitted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli.shared_options import AllowCode, PrintJson

if TYPE_CHECKING:
    from luthier.probe.findings import Findings


def probe(
    base: Annotated[
        str | None,
        typer.Argument(help="The base: any model.", show_default=False),
    ] = None,
    on: Annotated[
        list[str] | None,
        typer.Option(
            help="Documents: a file, a folder or a glob; or answers as JSON lines; several times.",
            show_default=False,
        ),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="A task file, or a bundled task.", show_default=False)
    ] = None,
    corpus: Annotated[
        list[str] | None,
        typer.Option(
            help="Text to look for word for word: what the base was trained on; several times.",
            show_default=False,
        ),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            help="Text of the same kind as --on that the base cannot have read; several times.",
            show_default=False,
        ),
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this part: familiarity, traces, contamination, hallucination, skills, "
            "advice; several times.",
            show_default=False,
        ),
    ] = None,
    documents: Annotated[int, typer.Option(help="Documents to read, at most.")] = 60,
    tokens: Annotated[int, typer.Option(help="Tokens of them all to read, at most.")] = 20_000,
    examples: Annotated[int, typer.Option(help="Examples of the task, at most.")] = 100,
    seed: Annotated[int, typer.Option(help="Of the samples.")] = 0,
    runs: Annotated[
        Path, typer.Option(help="The folder of runs, in whose probes/ the findings are kept.")
    ] = Path("runs"),
    record: Annotated[
        bool,
        typer.Option(
            "--record", help="How often the advice was right so far, over all ledgers in --runs."
        ),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Write the page to this HTML file.", show_default=False)
    ] = None,
    allow_code: AllowCode = False,
    as_json: PrintJson = False,
) -> None:
    """What a base knows, what it makes up, and what to try first, on one page.

    What has no data is left out: --on gives documents, --task a task, --corpus text to look in.
    """
    if record:
        show_record(runs, as_json=as_json)
        return
    from luthier.cli.console import only_data_on_stdout, print_json, talk
    from luthier.cli.progress import reading_task
    from luthier.cli.work_bar import work_bar
    from luthier.errors import UserError
    from luthier.models.load import check_name, load
    from luthier.probe.probe_request import ProbeLimits, ProbeRequest
    from luthier.probe.run_probe import run_probe, wanted_parts
    from luthier.probe.saved_findings import keep_findings
    from luthier.task.task import Task

    if base is None:
        raise UserError("no base is named", next_step="luthier probe nano --on FOLDER")
    check_name(base)
    opened = None
    if task is not None:
        with reading_task(talk()):
            opened = Task.load(task, seed=seed, allow_code=allow_code)
    request = ProbeRequest(
        on=tuple(on or ()),
        task=opened,
        corpus=tuple(corpus or ()),
        against=tuple(against or ()),
        parts=tuple(part or ()),
        limits=ProbeLimits(documents=documents, tokens=tokens, examples=examples),
        seed=seed,
    )
    wanted_parts(request)  # before weights load
    with only_data_on_stdout():
        model = load(base)
        with work_bar(talk(), "steps"):
            found = run_probe(model, request)
    talk().print(f"Kept: {keep_findings(found, runs)}", markup=False, soft_wrap=True)
    if out is not None:
        from luthier.report.probe_page import write_probe_page

        talk().print(f"The page: {write_probe_page(found, out)}", markup=False, soft_wrap=True)
    if as_json:
        print_json(found.to_json())
        return
    show(found)


def show_record(runs: Path, *, as_json: bool) -> None:
    """The record of the advice on stdout."""
    from luthier.cli.console import data, print_json
    from luthier.probe.advice_record import advice_record

    record = advice_record(runs)
    if as_json:
        print_json(record.to_json())
        return
    for sentence in record.sentences():
        data().print(sentence, markup=False, soft_wrap=True)


def show(found: Findings) -> None:
    """The findings part by part, as sentences on stdout."""
    from luthier.cli.console import data
    from luthier.report.probe_view import part_views

    console = data()
    for view in part_views(found):
        console.print(view.title, style="bold", markup=False)
        for sentence in view.sentences:
            console.print(f"  {sentence}", markup=False, soft_wrap=True)
    for reason in found.unread:
        console.print(f"Not read: {reason}", markup=False, soft_wrap=True)
    console.print(f"{found.seconds or 0.0:.0f} seconds", style="dim", markup=False)
