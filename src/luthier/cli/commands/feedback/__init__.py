"""`luthier feedback`: answers sampled, opinions in and out, agreement, the next round."""

from __future__ import annotations

import typer

from luthier.cli.commands.feedback.agreement_table import agreement
from luthier.cli.commands.feedback.judging import judge
from luthier.cli.commands.feedback.opening import open_page
from luthier.cli.commands.feedback.sampling import sample
from luthier.cli.commands.feedback.training import rounds, train
from luthier.cli.commands.feedback.transfers import export, import_

feedback = typer.Typer(
    name="feedback",
    help="Answers sampled, opinions of people and judges, and a better model out of them.",
    no_args_is_help=True,
)
feedback.command()(sample)
feedback.command("open")(open_page)
feedback.command("import")(import_)
feedback.command()(export)
feedback.command()(judge)
feedback.command()(agreement)
feedback.command()(train)
feedback.command()(rounds)
