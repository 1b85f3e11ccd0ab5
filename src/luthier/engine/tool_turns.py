"""Turns with calls and results in the form that chat templates read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from luthier.content import Message, Text, ToolCall, ToolResult, ToolSignature
from luthier.models.tool_formats import call_format

Turn = dict[str, Any]
RESULT = "Result of"  # stands before a result for a template that knows none


def tool_objects(tools: Sequence[ToolSignature], *, plain: Callable[[str], str]) -> list[Turn]:
    """Tools as the objects that templates list."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": plain(tool.description),
                "parameters": _plain(tool.parameters, plain),
            },
        }
        for tool in tools
    ]


def tool_turns(
    messages: Sequence[Message], *, form: str | None, plain: Callable[[str], str]
) -> list[Turn]:
    """The turns. Calls and results are objects of their own where `form` is None; else calls are
    written in that form, and results become a turn of the user."""
    turns: list[Turn] = []
    names: dict[str, str] = {}
    for message in messages:
        if isinstance(message.content, str):
            turns.append({"role": message.role, "content": plain(message.content)})
            continue
        calls = [part for part in message.content if isinstance(part, ToolCall)]
        results = [part for part in message.content if isinstance(part, ToolResult)]
        names |= {call.id: call.name for call in calls}
        if not calls and not results:
            turns.append({"role": message.role, "content": plain(message.text)})
        elif form is None:
            turns += _objects(message, calls, results, names=names, plain=plain)
        else:
            turns.append(_written(message, calls, results, form=form, names=names, plain=plain))
    return turns


def _objects(
    message: Message, calls: Sequence[ToolCall], results: Sequence[ToolResult], *,
    names: Mapping[str, str], plain: Callable[[str], str],
) -> list[Turn]:  # fmt: skip
    turns: list[Turn] = [
        {
            "role": "tool",
            "name": names.get(result.id, "tool"),
            "tool_call_id": result.id,
            "content": plain(result.text),
        }
        for result in results
    ]
    if calls:
        shown = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": _plain(dict(call.arguments), plain)},
            }
            for call in calls
        ]
        turns.append({"role": "assistant", "content": plain(_said(message)), "tool_calls": shown})
    return turns


def _written(
    message: Message, calls: Sequence[ToolCall], results: Sequence[ToolResult], *,
    form: str, names: Mapping[str, str], plain: Callable[[str], str],
) -> Turn:  # fmt: skip
    if calls:
        words = [_said(message), call_format(form).write(calls)]
        return {"role": "assistant", "content": "\n".join(plain(w) for w in words if w)}
    lines = [f"{RESULT} {names.get(r.id, 'the call')}: {r.text}" for r in results]
    role = "tool" if form == "json" else "user"
    return {"role": role, "content": plain("\n".join(lines))}


def _said(message: Message) -> str:
    assert not isinstance(message.content, str)
    return "\n".join(part.text for part in message.content if isinstance(part, Text))


def _plain(value: Any, plain: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, Mapping):
        return {key: _plain(inner, plain) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner, plain) for inner in value]
    return value
