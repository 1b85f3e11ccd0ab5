"""The turn loop: a response that calls tools is followed by their results and the next response."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from luthier.content import (
    Conversation,
    Message,
    Part,
    Response,
    Text,
    ToolCall,
    ToolResult,
    Usage,
)
from luthier.errors import UserError
from luthier.records import Example

if TYPE_CHECKING:
    from luthier.models.model import Model

Tool = Callable[..., Any]


def respond_with_tools(
    model: Model, example: Example, tools: Mapping[str, Tool], *, seed: int, max_steps: int
) -> Response:
    """The first response without tool calls, or the one of step `max_steps`.

    Its `turns` are the calls that were run and their results; its usage is that of all steps.
    """
    if max_steps < 1:
        raise UserError(f"max_steps is {max_steps}", next_step="Give at least 1.")
    conversation = Conversation.of(example.input)
    turns: tuple[Message, ...] = ()
    usage = Usage()
    for step in range(1, max_steps + 1):
        current = replace(example, input=Conversation((*conversation.messages, *turns)))
        response = model.answer([current], seed=seed)[0]
        usage = usage + response.usage
        if not response.tool_calls or step == max_steps:
            break
        results = tuple(_run(call, tools) for call in response.tool_calls)
        turns = (*turns, _calling(response), Message("tool", results))
    return replace(response, usage=usage, turns=turns)


def _calling(response: Response) -> Message:
    """The model's own turn: what it wrote, and its calls."""
    parts: list[Part] = [Text(response.text)] if response.text else []
    return Message("assistant", (*parts, *response.tool_calls))


def _run(call: ToolCall, tools: Mapping[str, Tool]) -> ToolResult:
    """What a tool returned, as text: JSON unless it is a string. A failure is a result too, so that
    the model can mend its call."""
    tool = tools.get(call.name)
    if tool is None:
        names = ", ".join(tools) or "none"
        return ToolResult(call.id, f"There is no tool {call.name!r}. Tools: {names}.", failed=True)
    try:
        value = tool(**call.arguments)
        text = value if isinstance(value, str) else json.dumps(value, default=str)
    except Exception as error:
        return ToolResult(call.id, f"{type(error).__name__}: {error}", failed=True)
    return ToolResult(call.id, text)
