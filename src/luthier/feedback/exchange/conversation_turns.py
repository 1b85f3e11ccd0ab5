"""Prompts and answers as other programs write them: a text, or turns in one of two spellings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.errors import FeedbackError

Turns = tuple[tuple[str, str], ...]
_ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant", "observation": "tool"}
ROLES = ("system", "user", "assistant", "tool")


def turns_of(value: Any, *, name: str) -> Turns:
    """A text as a user's turn, or `[{"role", "content"}]`, or `[{"from", "value"}]`.

    FeedbackError, with the name of the field, for anything else.
    """
    if isinstance(value, str):
        return (("user", clean(value)),)
    if isinstance(value, Mapping):
        return (_turn(value, name),)
    if not isinstance(value, list) or not value:
        raise FeedbackError(f"{name!r} is neither a text nor a list of turns")
    return tuple(_turn(turn, name) for turn in value)


def answer_text(value: Any, *, name: str) -> str:
    """An answer: a text, one turn, or a list of turns whose last one it is."""
    if isinstance(value, str):
        return clean(value)
    role, text = turns_of(value, name=name)[-1]
    if role != "assistant":
        raise FeedbackError(
            f"{name!r} ends in a turn of {role!r}, and an answer is the assistant's"
        )
    return text


def clean(text: str) -> str:
    """The text as UTF-8 can hold it: half a surrogate pair becomes "?"."""
    return text.encode("utf-8", "replace").decode("utf-8")


def plain_prompt(turns: Turns) -> str | list[dict[str, str]]:
    """A prompt to write out: a text where it is one question, else its turns."""
    if len(turns) == 1 and turns[0][0] == "user":
        return turns[0][1]
    return [{"role": role, "content": text} for role, text in turns]


def _turn(turn: Any, name: str) -> tuple[str, str]:
    if not isinstance(turn, Mapping):
        raise FeedbackError(f"{name!r} holds a turn that is no object")
    role = turn.get("role", turn.get("from"))
    text = turn.get("content", turn.get("value"))
    role = _ROLES.get(role, role) if isinstance(role, str) else role
    if role not in ROLES or not isinstance(text, str):
        raise FeedbackError(
            f"{name!r} holds a turn of role {role!r}; a turn has a role ({', '.join(ROLES)}) and a "
            "text"
        )
    return str(role), clean(text)
