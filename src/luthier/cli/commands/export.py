"""`luthier export`: the winner for other programs, scored again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from luthier.cli.shared_options import MovedBase, PrintJson


def export(
    model: Annotated[
        str, typer.Argument(help="A technique's folder (runs/<id>/lora), or a run folder.")
    ],
    to: Annotated[str, typer.Option(help="merged, peft, gguf, ollama or vllm.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A new folder.")],
    base: MovedBase = None,
    limit: Annotated[
        int | None, typer.Option(help="Score only so many test examples again.")
    ] = None,
    as_json: PrintJson = False,
) -> None:
    """Write a model for another program, and answer the test set with what was written.

    Exit code 1 where an answer is another one than at the evaluation, ties aside.
    """
    from luthier.cli.console import only_data_on_stdout, print_json, talk
    from luthier.cli.work_bar import work_bar
    from luthier.compare.comparison import Comparison
    from luthier.compare.run_folder import pick_folder
    from luthier.errors import UserError
    from luthier.ledger.run_ledger import LEDGER_FILE
    from luthier.models.load import load
    from luthier.serving.endpoint_check import samples_of_run
    from luthier.serving.export.export_model import export_model
    from luthier.serving.export.export_targets import TARGETS

    if to not in TARGETS:
        raise UserError(f"there is no export target {to!r}", choices=TARGETS)
    folder = Path(pick_folder(model))
    run = folder.resolve().parent
    comparison = Comparison.load(run) if (run / LEDGER_FILE).is_file() else None
    results = () if comparison is None else comparison.results
    result = next((r for r in results if r.slug == folder.resolve().name), None)
    samples = () if result is None else samples_of_run(result)[:limit]
    if comparison is not None and comparison.task.passage_column is not None:
        samples = ()  # the ledger holds no passages
    with only_data_on_stdout(), work_bar(talk(), "answers"):
        opened = load(folder, base=base)
        done = export_model(opened, to, out, samples=samples, comparison=comparison, result=result)
    again = done.rescored
    if as_json:
        print_json(
            {
                "out": str(out), "target": to, "scored_with": done.words,
                "equal": None if again is None else again.equal,
                "examples": None if again is None else again.examples,
                "ties": None if again is None else again.ties,
            }
        )  # fmt: skip
    elif again is None:
        talk().print(f"Not scored again: {done.words}.", markup=False, soft_wrap=True)
        typer.echo(str(out))
    else:
        ties = f" ({again.ties} differ by a tie that rounding decides)" if again.ties else ""
        talk().print(
            f"{again.equal} of {again.examples} test answers are those that were measured, "
            f"by {done.words}{ties}.", markup=False, soft_wrap=True,
        )  # fmt: skip
        typer.echo(str(out))
    if again is not None and again.others:
        raise typer.Exit(1)
