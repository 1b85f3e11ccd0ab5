"""What a model may do through its tools: who allows a call.

Text that a tool returns is data. Whatever it says, a call that changes something, or that could
carry private data away, runs only where the user allowed that tool by name, or says yes when asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from luthier.tools.tool import Tool

Confirm = Callable[[Tool, Mapping[str, Any], str], bool]


@dataclass(frozen=True, slots=True)
class Permissions:
    """`allow` names tools that may be called without a question. `confirm(tool, arguments, why)`
    asks the user; None: nobody can be asked, and the call is refused."""

    allow: frozenset[str] = frozenset()
    confirm: Confirm | None = None

    def refusal(self, tool: Tool, arguments: Mapping[str, Any], *, why: str) -> str:
        """Why a call that needs a permission does not run; "" where it may. `why` says what makes
        it need one ("" where nothing does)."""
        if not why or tool.name in self.allow:
            return ""
        if self.confirm is None:
            return f"Not allowed: {why}, and the user has not allowed {tool.name}."
        if self.confirm(tool, arguments, why):
            return ""
        return f"Not allowed: the user was asked about {tool.name} and said no."


def needs_permission(tool: Tool, arguments: Mapping[str, Any], *, asked: str, private: bool) -> str:
    """Why a call needs a permission; "" where it needs none.

    `asked` is what the user wrote, `private`: private data of another origin were read before in
    this conversation. What the user wrote may leave: no planted text put it together.
    """
    if tool.effects:
        return f"{tool.name} changes things"
    if tool.outward and private and not all(text in asked for text in texts_in(arguments)):
        return f"{tool.name} sends its arguments out, and private data were read before"
    return ""


def texts_in(value: Any) -> list[str]:
    """The texts and numbers in a JSON value, keys left out."""
    if isinstance(value, Mapping):
        return [text for inner in value.values() for text in texts_in(inner)]
    if isinstance(value, list | tuple):
        return [text for inner in value for text in texts_in(inner)]
    return [] if value is None or isinstance(value, bool) else [str(value)]
