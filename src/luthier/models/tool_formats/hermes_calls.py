"""The form of Hermes and Qwen: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`.

Qwen3-Coder's `<function=name><parameter=key>…` inside the same tags is read as well.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from luthier.content import ToolCall, ToolSignature
from luthier.models.tool_formats.shape import (
    UNREADABLE,
    CallFormat,
    CallText,
    call_of,
    call_rules,
    json_text,
    loads_leniently,
)

_BLOCK = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL)
_FUNCTION = re.compile(r"<function=([\w.-]+)>(.*?)(?:</function>|\Z)", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=([\w.-]+)>\n?(.*?)\n?</parameter>", re.DOTALL)


def write(calls: Sequence[ToolCall]) -> str:
    """A block for each call."""
    return "\n".join(f"<tool_call>\n{json_text(call)}\n</tool_call>" for call in calls)


def read(text: str, names: Sequence[str]) -> CallText:
    """The blocks of a text."""
    calls = [_call(block) for block in _BLOCK.findall(text)]
    if not calls and "<function=" in text:
        calls = [_of_tags(*found) for found in _FUNCTION.findall(text)]
        return CallText(_FUNCTION.sub("", text).strip(), tuple(calls))
    return CallText(_BLOCK.sub("", text).strip(), tuple(calls))


def _call(block: str) -> ToolCall:
    tags = _FUNCTION.search(block)
    if tags is not None:
        return _of_tags(tags.group(1), tags.group(2))
    try:
        return call_of(loads_leniently(block.strip()))
    except ValueError:
        return ToolCall(UNREADABLE, {})


def _of_tags(name: str, body: str) -> ToolCall:
    arguments: dict[str, Any] = {}
    for key, value in _PARAMETER.findall(body):
        try:
            arguments[key] = loads_leniently(value)
        except ValueError:
            arguments[key] = value
    return ToolCall(name, arguments)


def rules(signatures: Sequence[ToolSignature]) -> str:
    """A block or several."""
    begin, end = "<tool_call>\n", "\n</tool_call>"
    return call_rules(signatures, r'call ("\n" call)*', before=begin, after=end)


HERMES = CallFormat(
    "hermes",
    'To use a tool, write <tool_call>{"name": "NAME", "arguments": {…}}</tool_call>.',
    write, read, rules, lambda signatures: r"(?s:.*)<tool_call>",
)  # fmt: skip
