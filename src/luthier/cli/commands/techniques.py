"""`luthier techniques`: a card for each technique."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from luthier.cli.shared_options import PrintJson

if TYPE_CHECKING:
    from luthier.techniques.base import Technique


def techniques(
    name: Annotated[
        str | None, typer.Argument(help="One technique; all of them without it.")
    ] = None,
    as_json: PrintJson = False,
) -> None:
    """What each technique changes, what it needs, when it pays, and its settings."""
    from luthier import registry
    from luthier.cli.console import print_json, show_error

    if name is None:
        classes, problems = registry.load_all("techniques")
        for problem in problems:
            show_error(problem)
    else:
        classes = {name: registry.get("techniques", name)}
    cards = {key: card(kind) for key, kind in classes.items()}
    if as_json:
        print_json(cards)
        return
    show(cards)


def card(kind: type[Technique]) -> dict[str, Any]:
    """A technique's card as plain values."""
    words = dataclasses.asdict(kind.card)
    settings = {
        f.name: None if f.default is dataclasses.MISSING else f.default
        for f in dataclasses.fields(cast(Any, kind))
    }
    from luthier.serialization import to_plain

    return {"family": kind.family, **words, "settings": to_plain(settings)}


def show(cards: dict[str, dict[str, Any]]) -> None:
    """The cards as text on stdout."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    from luthier.cli.console import data

    console = data()
    for name, words in cards.items():
        console.print(Text.assemble((name, "bold"), (f"  {words['family']}", "dim")))
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column()
        for key in ("changes", "needs", "pays_when", "costs", "source"):
            grid.add_row(key.replace("_", " "), Text(words[key]))
        settings = ", ".join(f"{k}={v!r}" for k, v in words["settings"].items())
        grid.add_row("settings", Text(settings))
        console.print(Padding(grid, (0, 0, 1, 2)))
