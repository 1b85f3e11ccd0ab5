"""Which addresses of tools the user named in this process.

A saved model says which tools it was fitted with, and a task file which it offers. Opening them may
start a program, or send what the environment holds to a server; so an address out of a file that
could do either is opened only where the user named it as well, or allowed the file to name code.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from luthier.errors import UserError
from luthier.tools.secret_texts import redacted

ALLOWED_VARIABLE = "LUTHIER_ALLOWED_TOOLS"
HARMLESS = ("calculator", "clock", "lookup", "knowledge", "python")  # they read here, or nothing
_named: set[str] = set()


def name_addresses(addresses: Iterable[str]) -> None:
    """Remember that the user named these."""
    _named.update(addresses)


def check_named(addresses: Iterable[str]) -> None:
    """UserError for the first address out of a file that nobody named."""
    allowed = {part.strip() for part in os.environ.get(ALLOWED_VARIABLE, "").split("\n") if part}
    for address in addresses:
        if address in _named or address in allowed or _is_harmless(address):
            continue
        raise UserError(
            f"the tools {redacted(address)!r} start a program or reach a server, and that a file "
            "names them is no reason to open them",
            next_step=f"Name them: --tool {redacted(address)!r}; for a task file --allow-code; in "
            f"Python tools=open_toolbox(…); or in {ALLOWED_VARIABLE}, one a line.",
        )


def _is_harmless(address: str) -> bool:
    kind, _, rest = address.partition(":")
    if "${" in address:
        return False
    if kind == "sql":
        return "://" not in rest or rest.startswith(("sqlite:///", "duckdb:///"))
    return kind in HARMLESS and "://" not in rest
