"""The plain form: `name({"argument": 1})`, calls that run side by side joined by `; `."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from luthier.content import ToolCall, ToolSignature
from luthier.models.tool_formats.shape import UNREADABLE, CallFormat, CallText, quoted

JOINED = "; "


def write(calls: Sequence[ToolCall]) -> str:
    """The calls in one line."""
    return JOINED.join(call.text for call in calls)


def read(text: str, names: Sequence[str]) -> CallText:
    """The calls that a text begins with; a text that begins otherwise is an answer."""
    if not names:
        return CallText(text, ())
    begins = re.compile(rf"\s*(?:;\s*)?({'|'.join(map(re.escape, names))})\(\s*")
    decoder, at = json.JSONDecoder(strict=False), 0
    calls: list[ToolCall] = []
    while (found := begins.match(text, at)) is not None:
        try:
            arguments, end = decoder.raw_decode(text, found.end())
        except (ValueError, RecursionError):
            return CallText("", (*calls, ToolCall(UNREADABLE, {})))
        if not isinstance(arguments, dict):
            return CallText("", (*calls, ToolCall(UNREADABLE, {})))
        calls.append(ToolCall(found.group(1), arguments))
        closing = re.compile(r"\s*\)?").match(text, end)
        at = closing.end() if closing else end
    return CallText("" if calls else text, tuple(calls))


def rules(signatures: Sequence[ToolSignature]) -> str:
    """`name(` arguments `)`."""
    ways = " | ".join(f"{quoted(s.name + '(')} args_{k} {quoted(')')}"
                      for k, s in enumerate(signatures))  # fmt: skip
    return f'calls: call ("{JOINED}" call)*\ncall: {ways}'


def marker(signatures: Sequence[ToolSignature]) -> str:
    """A name and a bracket."""
    return f" *({'|'.join(re.escape(s.name) for s in signatures)})\\("


NAMED = CallFormat(
    "plain",
    'To use a tool, write its name with a JSON object, as in NAME({…}), and nothing else; its '
    "result follows, and then you answer. Where no tool helps, answer.",
    write, read, rules, marker,
)  # fmt: skip
