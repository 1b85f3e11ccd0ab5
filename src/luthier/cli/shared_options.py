"""Options that several commands share, word for word."""

from __future__ import annotations

from typing import Annotated

import typer

from luthier.records import Kind

USUAL_BASES = "nano; mini-scene for pictures"
PrintJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
AllowCode = Annotated[
    bool, typer.Option("--allow-code", help="Run the Python that the task file names.")
]
MovedBase = Annotated[
    str | None,
    typer.Option(help="The base, where it is no longer at its place.", show_default=False),
]
TasksOfRuns = Annotated[
    list[str] | None,
    typer.Option(
        help="The task of a run, for the prompt lab: a file or a bundled name; several times.",
        metavar="FILE_OR_NAME",
        show_default=False,
    ),
]
AllowTheirCode = Annotated[
    bool, typer.Option("--allow-code", help="Run the Python that a --task file names.")
]


def usual_base(kind: Kind) -> str:
    """The embedded base that a command takes for a task of this kind where none is named."""
    return "mini-scene" if kind == Kind.IMAGE else "nano"
