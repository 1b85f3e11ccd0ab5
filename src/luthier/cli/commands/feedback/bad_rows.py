"""Rows that were left out, on stderr; a command that left some out exits with 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from luthier.feedback.exchange.file_rows import BadRow

SHOWN = 20


def show_bad(bad: Sequence[BadRow], place: str) -> None:
    """Name the first of them, and exit with 1 where there are any."""
    from luthier.cli.console import talk

    for row in bad[:SHOWN]:
        talk().print(f"left out: {place} {row.place}: {row.reason}", markup=False, soft_wrap=True)
    if len(bad) > SHOWN:
        talk().print(f"left out: {len(bad) - SHOWN} more", markup=False)
    if bad:
        raise typer.Exit(1)
