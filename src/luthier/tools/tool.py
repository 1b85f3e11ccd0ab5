"""A tool: what a model may call, with what arguments, and what the call may do."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from luthier.content import ToolSignature

_UNUSABLE = re.compile(r"[^A-Za-z0-9_-]+")
LONGEST_NAME = 64  # what APIs take


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that a model may call.

    **Fields**

    - `name`: letters, digits, `_` and `-`, at most 64: what every API takes (`usable_name`).
    - `description`: what the model reads about it.
    - `parameters`: the JSON schema of its arguments, an object.
    - `run`: takes the arguments, which fit the schema, and returns a text or what JSON can say. An
      exception is told to the model as the result.
    - `effects`: it changes something in the world. Such a call needs a permission.
    - `private`: its results are the user's own data.
    - `outward`: its arguments leave this machine. After private data of another origin were read,
      such a call needs a permission.
    - `origin`: the address it was opened from.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    run: Callable[[Mapping[str, Any]], Any]
    effects: bool = False
    private: bool = False
    outward: bool = False
    origin: str = ""

    @property
    def signature(self) -> ToolSignature:
        """What a model sees of it."""
        return ToolSignature(self.name, self.description, self.parameters)

    @property
    def may(self) -> str:
        """What a call may do, in words."""
        reads = "reads your own data" if self.private else "reads"
        acts = "changes things (asks first)" if self.effects else reads
        return f"{acts}, sends its arguments out" if self.outward else acts


@dataclass(frozen=True, slots=True)
class ToolCard:
    """What `luthier tools` prints about a kind of tools."""

    does: str
    may: str
    needs: str
    example: str


@dataclass(frozen=True, slots=True, eq=False)
class ToolSource:
    """Tools that were opened together. `close` ends what runs behind them; `notes` say what a user
    should know of them, a sentence each."""

    tools: tuple[Tool, ...]
    close: Callable[[], None] = field(default=lambda: None)
    notes: tuple[str, ...] = ()


def usable_name(name: str) -> str:
    """A name as every API takes it: other characters become `_`."""
    return _UNUSABLE.sub("_", name).strip("_")[:LONGEST_NAME] or "tool"
