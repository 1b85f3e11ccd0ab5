"""`luthier key`: the API keys of a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def key(
    name: Annotated[str, typer.Argument(help="Who holds it.")],
    file: Annotated[Path, typer.Option(help="The file of keys that luthier serve reads.")],
    role: Annotated[
        str,
        typer.Option(help="use (ask), annotate (also give feedback), admin (also load models)."),
    ] = "use",
    remove: Annotated[bool, typer.Option("--remove", help="Take the key away.")] = False,
) -> None:
    """Make a key and print it once; the file keeps its hash. A server that runs sees it at once."""
    from luthier.errors import UserError
    from luthier.serving.guard.api_keys import add_key, remove_key

    if not file.absolute().parent.is_dir():
        raise UserError(f"--file {file}: its folder does not exist", next_step="Make it first.")
    if remove:
        remove_key(file, name)
        return
    typer.echo(add_key(file, name, role))
