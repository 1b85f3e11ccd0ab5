"""The openai client of an address."""

from __future__ import annotations

from typing import Any

from luthier.safety.guarded_client import open_guarded_client


def open_client(url: str) -> Any:
    """The openai client of an address, with bounds on what the server may do to it."""
    return open_guarded_client(url)
