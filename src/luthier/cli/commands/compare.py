"""`luthier compare`: compare techniques on a task, and say which to use."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli.shared_options import USUAL_BASES, AllowCode, usual_base
from luthier.errors import TechniqueError

if TYPE_CHECKING:
    from luthier.techniques.base import Technique

DEFAULT = (
    "zero-shot, few-shot, prompt-search, soft-prompt, prefix (over a decoder), lora, full; "
    "more where there are documents"
)


# Where the results go, how they are shown, and what is asked: none of it changes the results.
NOT_KEPT = ("out", "as_json", "plan", "yes")


def compare(
    context: typer.Context,
    task: Annotated[
        str, typer.Argument(help="A task file, or the name of a bundled task (luthier tasks).")
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="nano, nano-reader, a folder, a hub id, or http(s)://…/v1#name; several, with "
            "commas between them, are compared in one table.",
            show_default=USUAL_BASES,
        ),
    ] = None,
    techniques: Annotated[
        str | None,
        typer.Option(
            "--techniques",
            "-t",
            help=f"Names with settings, and recipes with '->'.  \\[default: {DEFAULT}]",
            show_default=False,
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget",
            "-b",
            help="For everything: 90s, 20m, 1h, or 5Mtok.  \\[default: three passes over the "
            "training examples in each fit, or 10m where that takes more than an hour]",
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option(help="Seeds for each technique whose fit depends on one.")
    ] = 3,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The run folder.  \\[default: in runs/]")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of the table.")
    ] = False,
    curve: Annotated[
        bool, typer.Option("--curve", help="Also fit on a quarter and a half of the examples.")
    ] = False,
    prices: Annotated[
        Path | None, typer.Option(help="A price book (YAML) instead of the one that ships.")
    ] = None,
    proposer: Annotated[
        str | None, typer.Option(help="A capable model that rewrites prompts in prompt-search.")
    ] = None,
    embedder: Annotated[
        str | None,
        typer.Option(
            help="What the reference that classifies embeddings embeds with: minilm, none, a "
            "sentence-transformers model, or http://…/v1#name.  \\[default: minilm, if installed]",
            show_default=False,
        ),
    ] = None,
    setfit: Annotated[
        bool,
        typer.Option("--setfit", help="Also score SetFit, a trained embedder; it takes minutes."),
    ] = False,
    limit: Annotated[int | None, typer.Option(help="Score only so many test examples.")] = None,
    seed: Annotated[int, typer.Option(help="The first seed.")] = 0,
    tolerance: Annotated[
        float, typer.Option(help="How many points the pick may be below the best.")
    ] = 3.0,
    allow_code: AllowCode = False,
    refit: Annotated[
        bool,
        typer.Option("--refit", help="At the end fit the pick once more, on train and dev."),
    ] = False,
    advise: Annotated[
        bool,
        typer.Option(
            "--advise",
            help="Rank the techniques before anything is fitted, and run the likely winners first.",
        ),
    ] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Show what it would take, and stop.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask before spending money.")
    ] = False,
) -> None:
    """Compare ways to adapt a model to a task, and say which to use.

    The same command again goes on where the last one stopped.
    """
    from luthier.cli.command_arguments import arguments_of
    from luthier.cli.console import data, only_data_on_stdout, print_json, talk
    from luthier.cli.progress import TerminalListener, reading_task
    from luthier.compare.options import CURVE, Options
    from luthier.compare.parse_budget import parse_budget
    from luthier.compare.request import default_techniques, resolve_techniques
    from luthier.compare.run_comparison import compare as run
    from luthier.task.task import Task

    # Everything that may be wrong is checked before anything heavy loads.
    parsed_budget = parse_budget(budget)
    resolved = None if techniques is None else resolve_techniques(techniques)
    with reading_task(talk()):
        opened_task = Task.load(task, allow_code=allow_code)
    if proposer is not None:
        names = resolved or resolve_techniques(default_techniques(opened_task))
        resolved = with_proposer(names, proposer)
    for note in opened_task.notes:
        talk().print(f"note: {note}", markup=False, soft_wrap=True)
    confirm = not yes and sys.stdin.isatty() and sys.stderr.isatty()
    with TerminalListener(talk(), confirm=confirm) as listener:
        options = Options(
            curve=CURVE if curve else (),
            limit=limit,
            prices=prices,
            seed=seed,
            plan_only=plan,
            tolerance=tolerance,
            embedder=embedder,
            setfit=setfit,
            refit=refit,
            advise=advise,
            listener=listener,
            arguments=arguments_of(context, left_out=NOT_KEPT),
        )
        with only_data_on_stdout():
            comparison = run(
                opened_task, model or usual_base(opened_task.kind), techniques=resolved,
                budget=parsed_budget, seeds=seeds, out=out, options=options,
            )  # fmt: skip
    if advise and comparison.plan.advice is None:
        talk().print("No advice: this comparison had begun without one.", markup=False)
    if plan:
        if as_json:
            from luthier.serialization import to_plain

            print_json(to_plain(comparison.plan))
        return
    from luthier.report import terminal_table, write_html

    page = write_html(comparison, Path(comparison.folder or ".") / "report.html")
    if as_json:
        print_json(comparison.to_json())
    else:
        data().print(terminal_table(comparison))
    talk().print(f"Report: {page}", markup=False, soft_wrap=True)
    if comparison.verdict.best is None:
        raise typer.Exit(1)


def with_proposer(techniques: tuple[Technique, ...], proposer: str) -> tuple[Technique, ...]:
    """The techniques, with the proposer set in each that has such a setting; TechniqueError when
    none has."""
    import dataclasses
    from typing import Any, cast

    def takes_proposer(technique: Technique) -> bool:
        return any(f.name == "proposer" for f in dataclasses.fields(cast(Any, technique)))

    if not any(takes_proposer(t) for t in techniques):
        raise TechniqueError(
            f"--proposer {proposer} is not needed: none of these techniques takes a proposer",
            next_step="Add prompt-search to --techniques.",
        )
    return tuple(
        dataclasses.replace(cast(Any, t), proposer=proposer) if takes_proposer(t) else t
        for t in techniques
    )
