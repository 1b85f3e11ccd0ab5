"""Messages in the form of the OpenAI API: plain strings for text, content parts where there are
pictures, and tool calls with their results."""

from __future__ import annotations

import base64
import json
import mimetypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from luthier.content import Image, Message, Text, ToolCall, ToolResult, ToolSignature
from luthier.errors import UserError


def openai_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The messages as the API takes them. A tool's results are messages of their own.

    UserError for a picture whose file cannot be read.
    """
    return [form for message in messages for form in _forms(message)]


def openai_tools(tools: Sequence[ToolSignature]) -> list[dict[str, Any]]:
    """What may be called, as the API takes it."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": dict(tool.parameters) or {"type": "object", "properties": {}},
            },
        }
        for tool in tools
    ]


def _forms(message: Message) -> list[dict[str, Any]]:
    if isinstance(message.content, str):
        return [{"role": message.role, "content": message.content}]
    results = [
        {"role": "tool", "tool_call_id": part.id, "content": part.text}
        for part in message.content
        if isinstance(part, ToolResult)
    ]
    shown = [part for part in message.content if isinstance(part, Text | Image)]
    calls = [_call_form(part) for part in message.content if isinstance(part, ToolCall)]
    if not shown and not calls:
        return results
    content: Any = "\n".join(part.text for part in shown if isinstance(part, Text))
    if any(isinstance(part, Image) for part in shown):
        content = [_part_form(part) for part in shown]
    form: dict[str, Any] = {"role": message.role, "content": content}
    if calls:
        form = {"role": message.role, "content": content or None, "tool_calls": calls}
    return [*results, form]


def _part_form(part: Text | Image) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    return {"type": "image_url", "image_url": {"url": _data_url(part)}}


def _data_url(image: Image) -> str:
    data, kind = image.data, image.media_type
    if data is None:
        if image.path is None:
            raise UserError("a picture has neither data nor a path", next_step="Give one of them.")
        try:
            data = Path(image.path).read_bytes()
        except OSError as error:
            raise UserError(
                f"the picture {image.path} cannot be read: {error.strerror or error}",
                next_step="Give the path of a picture on this machine.",
            ) from error
        kind = mimetypes.guess_type(image.path)[0] or kind
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _call_form(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": json.dumps(dict(call.arguments))}
    return {"id": call.id, "type": "function", "function": function}
