"""`luthier feedback train` and `rounds`: the next model, and what became of all of them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli.commands.feedback.folder import DEFAULT_FOLDER, Folder, open_store
from luthier.cli.commands.feedback.progress_line import shown_progress
from luthier.cli.shared_options import PrintJson

if TYPE_CHECKING:
    from luthier.feedback.reward_report import Accuracy
    from luthier.ledger.feedback_store import FeedbackStore


def train(
    method: Annotated[
        str,
        typer.Option(
            help="rejection, dpo, kto or ppo, with settings if wanted; several with commas make "
            "several models."
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(help="The model to begin with, V0; else the one whose answers were judged."),
    ] = None,
    parent: Annotated[
        str | None,
        typer.Option("--from", help="The model of the rounds to improve; the latest unless named."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the new model; V1, V2, … unless named.")] = (
        None
    ),
    budget: Annotated[str, typer.Option(help="Of each method: 300ktok, 2m.")] = "300ktok",
    seed: Annotated[int, typer.Option(help="Of the training.")] = 0,
    task: Annotated[
        str | None,
        typer.Option(
            help="A task that the model had: its score says what was forgotten, and "
            "training stops where its dev score falls."
        ),
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="The base, where it moved.", show_default=False)
    ] = None,
    folder: Folder = DEFAULT_FOLDER,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a model.")] = False,
) -> None:
    """Train the next model on the opinions that are not held out."""
    from luthier.cli.console import only_data_on_stdout, print_json, talk
    from luthier.compare.parse_budget import parse_budget
    from luthier.feedback.make_rounds import LoopRequest, make_rounds
    from luthier.feedback.train_round import split_methods

    request = LoopRequest(
        split_methods(method), parse_budget(budget), model, parent, name, seed, task, base
    )
    with only_data_on_stdout(), open_store(folder) as store, shown_progress("Training"):
        found = make_rounds(store, folder, request)
    if as_json:
        print_json([asdict(m) for m in found])
        return
    for one in found:
        record: dict[str, Any] = dict(one.record)
        simulated = ", simulated" if record.get("simulated") else ""
        talk().print(
            f"{one.name} ({record['method']}) from {record['parent']}, {record['opinions']} "
            f"opinions{simulated}, {record['seconds']:.0f} s: {one.folder}",
            markup=False, soft_wrap=True,
        )  # fmt: skip
        for note in [*record["fit"]["notes"], *filter(None, [record.get("warning")])]:
            talk().print(f"note: {note}", markup=False, soft_wrap=True)


def rounds(
    folder: Folder = DEFAULT_FOLDER,
    as_json: PrintJson = False,
) -> None:
    """V1 … Vn: parents, methods, win rates with 95 % intervals, and what was forgotten."""
    from luthier.cli.console import print_json
    from luthier.feedback.rounds import rounds as found_rounds

    with open_store(folder) as store:
        if as_json:
            print_json([asdict(r) for r in found_rounds(store)])
            return
        _show(store)


def _show(store: FeedbackStore) -> None:
    from rich.table import Table

    from luthier.cli.console import data
    from luthier.feedback.rounds import lineage_lines, rounds

    found = rounds(store)
    console = data()
    table = Table(
        "model", "from", "method", "opinions", "wins against its parent", "wins against V0",
        "KL", "task", "off-task bits", "reward right",
    )  # fmt: skip
    notes = []
    for one in found:
        notes += [f"{one.name}: {note}" for note in one.notes]
        table.add_row(
            one.name, one.parent or "–", one.method, str(one.opinions or "–"),
            _share(one.against_parent), _share(one.against_first), _number(one.kl, 1),
            _number(one.forgetting.get("task_score"), 3),
            _number(one.forgetting.get("off_task_bits"), 3), _number(one.reward_accuracy, 2),
        )  # fmt: skip
    console.print(table)
    sources = sorted({source for one in found for source in one.judged_by})
    if sources:
        simulated = ", some of them scripts that play people: simulated" * any(
            one.simulated for one in found
        )
        console.print(f"Win rates are on held-out prompts, from opinions of {', '.join(sources)}"
                      f"{simulated}.")  # fmt: skip
    for note in notes:
        console.print(note, markup=False)
    for line in lineage_lines(store.models()):
        console.print(line, markup=False)


def _share(found: Accuracy) -> str:
    if found.value is None:
        return "–"
    return f"{found.value:.2f} [{found.low:.2f}–{found.high:.2f}] of {found.pairs}"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
