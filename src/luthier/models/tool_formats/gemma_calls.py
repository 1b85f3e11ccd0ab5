"""The forms of Gemma.

Gemma 2 and 3 have no form of their own: they are told to answer with an object of `name` and
`parameters`, and may write Python in a fence of `tool_code`. Later ones write
`<start_function_call>call:name{key:<escape>text<escape>}<end_function_call>`.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from typing import Any

from luthier.content import ToolCall
from luthier.models.tool_formats.llama_calls import LLAMA
from luthier.models.tool_formats.shape import UNREADABLE, CallFormat, CallText, loads_leniently

_FENCE = re.compile(r"```(?:tool_code|python|tool_call)\s*\n(.*?)(?:```|\Z)", re.DOTALL)
_TAGS = re.compile(
    r"(?:<start_function_call>|<\|tool_call>)\s*call:([\w.-]+)(\{.*?\})\s*"
    r"(?:<end_function_call>|<tool_call\|>|\Z)",
    re.DOTALL,
)
_ESCAPED = re.compile(r"(?:<escape>|<\|\"\|>)(.*?)(?:<escape>|<\|\"\|>)", re.DOTALL)
_KEY = re.compile(r"([{,]\s*)([A-Za-z_]\w*)\s*:")


def read(text: str, names: Sequence[str]) -> CallText:
    """A fence of Python calls, or objects."""
    for fence in _FENCE.findall(text):
        calls = _python_calls(fence, names)
        if calls:
            return CallText(_FENCE.sub("", text).strip(), calls)
    return LLAMA.read(re.sub(r"\A\s*```json\s*", "", text), names)


def _python_calls(source: str, names: Sequence[str]) -> tuple[ToolCall, ...]:
    try:
        tree = ast.parse(source.strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    calls = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name | ast.Attribute):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)
        if name not in names:
            continue
        try:
            arguments = {k.arg: ast.literal_eval(k.value) for k in node.keywords if k.arg}
        except ValueError:
            return (ToolCall(UNREADABLE, {}),)
        calls.append(ToolCall(name, arguments))
    return tuple(calls)


def read_tags(text: str, names: Sequence[str]) -> CallText:
    """Calls between the tags."""
    calls = tuple(_tagged(name, body) for name, body in _TAGS.findall(text))
    return CallText(_TAGS.sub("", text).strip(), calls)


def write_tags(calls: Sequence[ToolCall]) -> str:
    """Calls between the tags."""
    return "".join(
        f"<start_function_call>call:{call.name}{_form(dict(call.arguments))}<end_function_call>"
        for call in calls
    )


def _form(value: Any) -> str:
    if isinstance(value, str):
        return f"<escape>{value}<escape>"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_form(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_form, value)) + "]"
    return json.dumps(value)


def _tagged(name: str, body: str) -> ToolCall:
    texts: list[str] = []

    def keep(found: re.Match[str]) -> str:
        texts.append(found.group(1))
        return f'"\x00{len(texts) - 1}"'

    plain = _KEY.sub(r'\1"\2":', _ESCAPED.sub(keep, body))
    try:
        value = loads_leniently(plain)
    except ValueError:
        return ToolCall(UNREADABLE, {})
    filled = _filled(value, texts)
    return ToolCall(name, filled) if isinstance(filled, dict) else ToolCall(UNREADABLE, {})


def _filled(value: Any, texts: Sequence[str]) -> Any:
    if isinstance(value, str) and value.startswith("\x00"):
        return texts[int(value[1:])]
    if isinstance(value, dict):
        return {key: _filled(inner, texts) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, texts) for inner in value]
    return value


GEMMA = CallFormat("gemma", LLAMA.how, LLAMA.write, read, LLAMA.rules, LLAMA.marker)
GEMMA_TAGS = CallFormat(
    "gemma-tags", "", write_tags, read_tags, None, lambda signatures: "<start_function_call>"
)
