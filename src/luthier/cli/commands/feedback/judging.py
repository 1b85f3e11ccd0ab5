"""`luthier feedback judge`: automatic opinions beside the human ones."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli.commands.feedback.folder import DEFAULT_FOLDER, Folder, open_store
from luthier.cli.shared_options import PrintJson

if TYPE_CHECKING:
    from luthier.scoring.judges.judge import Judge


def judge(
    rubric: Annotated[
        Path | None, typer.Option(help="A text file that says what makes an answer good.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--judge", help="The model that judges; the rubric may name it itself."),
    ] = None,
    script: Annotated[
        str | None, typer.Option(help="file.py:function, (question, answer) -> number.")
    ] = None,
    reward: Annotated[
        str | None, typer.Option(help="A model of the rounds: its reward model judges.")
    ] = None,
    simulated: Annotated[
        bool, typer.Option("--simulated", help="The script plays a person; it is labelled so.")
    ] = False,
    batch: Annotated[
        str | None, typer.Option(help="Only items of this batch.", show_default=False)
    ] = None,
    folder: Folder = DEFAULT_FOLDER,
    as_json: PrintJson = False,
) -> None:
    """Let a model with a rubric, or a function, judge all pairs; each pair in both orders."""
    from luthier.cli.console import only_data_on_stdout, print_json, talk
    from luthier.errors import UserError
    from luthier.feedback.judge_items import judge_items
    from luthier.feedback.reward_judge import saved_reward
    from luthier.feedback.train_round import existing_model, open_named
    from luthier.scoring.judges.judge_agreement import judge_agreement
    from luthier.scoring.judges.open_judge import open_judge

    if sum(given is not None for given in (rubric, script, reward)) != 1:
        raise UserError(
            "Say who judges",
            choices=("--rubric FILE --judge MODEL", "--script FILE.py:FUNCTION", "--reward V1"),
            next_step="Give one of these.",
        )
    if simulated and script is None:
        raise UserError(
            "--simulated is for scripts that play a person", next_step="Give --script, or leave it."
        )
    with only_data_on_stdout(), open_store(folder) as store, ExitStack() as stack:
        if reward is not None:
            found = existing_model(store, reward)
            judged = saved_reward(Path(found.folder), model=open_named(store, reward))
            opened: Judge = stack.enter_context(judged)
        else:
            opened = open_judge(str(rubric or script), model=model)
        report = judge_items(store, opened, simulated=simulated, batch=batch)
        agreement = None if simulated else judge_agreement(opened, folder)
    if as_json:
        agrees = None if agreement is None else asdict(agreement)
        print_json({**asdict(report), "agreement": agrees})
        return
    read = "" if report.read in (None, 1.0) else f"; {report.read:.0%} of its replies were readable"
    talk().print(
        f"{report.judge}: {report.new} new opinions, {report.ties} of them ties{read}; "
        f"{report.known} were there already",
        markup=False, soft_wrap=True,
    )  # fmt: skip
    if agreement is not None:
        talk().print(agreement.sentence, markup=False, soft_wrap=True)
