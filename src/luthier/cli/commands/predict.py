"""`luthier predict`: answers for a whole file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli.shared_options import MovedBase

if TYPE_CHECKING:
    from luthier.serving.files.prediction_rows import AskedColumns


def predict(
    model: Annotated[str, typer.Argument(help="A run folder, a technique's folder, or any model.")],
    source: Annotated[Path, typer.Argument(help="A CSV, TSV, JSONL, JSON or Parquet file.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Where to write: .csv, .tsv, .jsonl or .parquet.")
    ],
    input_column: Annotated[
        str | None,
        typer.Option("--input", help="The column to ask.  \\[default: the task's]"),
    ] = None,
    encoding: Annotated[str, typer.Option(help="Of the file.")] = "utf-8-sig",
    base: MovedBase = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object: how many rows, and where.")
    ] = False,
) -> None:
    """Answer every row of a file: the answer, the probability of each label, the citations.

    The same command again goes on where the last one stopped.
    """
    from luthier.cli.console import only_data_on_stdout, print_json, talk
    from luthier.cli.work_bar import work_bar
    from luthier.compare.run_folder import pick_folder
    from luthier.models.load import load
    from luthier.serving.files.predict_file import predict_file
    from luthier.serving.files.prediction_output import check_output
    from luthier.serving.files.prediction_rows import AskedColumns, read_rows

    folder = pick_folder(model)
    asked = task_columns(folder) if input_column is None else AskedColumns(input_column)
    rows = read_rows(source, asked, encoding=encoding)
    check_output(out, rows)  # both before weights load
    with only_data_on_stdout(), work_bar(talk(), "rows"):
        opened = load(folder, base=base)
        identity = opened.backend.fingerprint + fingerprint_of_folder(Path(folder))
        done = predict_file(opened, rows, out=out, identity=identity)
    if as_json:
        print_json(
            {"out": str(out), "rows": done.rows, "resumed": done.resumed, "empty": done.empty}
        )
        return
    if done.resumed:
        talk().print(f"{done.resumed} rows were answered before.")
    if done.empty:
        talk().print(f"{done.empty} rows have an empty {rows.asked.input!r}, and no answer.")
    typer.echo(str(out))


def task_columns(folder: str) -> AskedColumns | None:
    """The columns that the task of a technique's folder reads; None where its run is not there."""
    from luthier.compare.comparison import Comparison
    from luthier.errors import StorageError
    from luthier.ledger.run_ledger import LEDGER_FILE
    from luthier.serving.files.prediction_rows import AskedColumns

    run = Path(folder).resolve().parent
    if not (run / LEDGER_FILE).is_file():
        return None
    try:
        task = Comparison.load(run).task
    except StorageError:
        return None
    if task.input_column is None:
        return None
    return AskedColumns(task.input_column, task.passage_column)


def fingerprint_of_folder(folder: Path) -> str:
    """What changes when a saved adaptation does: the names, sizes and times of its files."""
    from luthier.serialization import digest

    if not folder.is_dir():
        return str(folder)
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    facts = [(str(p.relative_to(folder)), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    return digest(facts)
