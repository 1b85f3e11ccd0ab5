"""The form of Mistral: `[TOOL_CALLS] [{"name": …, "arguments": {…}}]`.

The newer `[TOOL_CALLS]name[ARGS]{…}` is read as well. A tokenizer that hides special tokens leaves
the list, or `name{…}`, alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from luthier.content import ToolCall, ToolSignature
from luthier.models.tool_formats.shape import (
    UNREADABLE,
    CallFormat,
    CallText,
    call_of,
    call_rules,
    objects_in,
)

MARK = "[TOOL_CALLS]"


def write(calls: Sequence[ToolCall]) -> str:
    """A list of all calls."""
    listed = [{"name": call.name, "arguments": dict(call.arguments)} for call in calls]
    return f"{MARK} {json.dumps(listed, ensure_ascii=False)}"


def read(text: str, names: Sequence[str]) -> CallText:
    """The list of a text, or named objects."""
    before, mark, rest = text.partition(MARK)
    body = rest if mark else text
    named = _named(body, names)
    if named:
        return CallText(before.strip() if mark else "", named)
    if not mark and not re.match(r"\s*\[\s*\{", text):
        return CallText(text, ())
    for _, _, value in objects_in(body):
        listed = value if isinstance(value, list) else [value]
        calls = tuple(call_of(v) for v in listed)
        if calls and (mark or all(call.name in names for call in calls)):
            return CallText(before.strip() if mark else "", calls)
    return CallText(before.strip(), (ToolCall(UNREADABLE, {}),)) if mark else CallText(text, ())


def _named(text: str, names: Sequence[str]) -> tuple[ToolCall, ...]:
    """Calls written as name[ARGS]{…}, or name{…}."""
    calls = []
    for piece in text.split(MARK):
        found = re.match(r"\s*([\w.-]+)\s*(?:\[CALL_ID\]\w+)?\s*(?:\[ARGS\])?\s*(?=\{)", piece)
        if found is None or found.group(1) not in names:
            return ()
        value = next((value for _, _, value in objects_in(piece, found.end())), None)
        calls.append(call_of({"name": found.group(1), "arguments": value}))
    return tuple(calls)


def rules(signatures: Sequence[ToolSignature]) -> str:
    """A list of one call or several; the mark is a special token, which no text can spell."""
    return call_rules(signatures, '"[" call (", " call)* "]"')


MISTRAL = CallFormat(
    "mistral",
    'To use a tool, write [TOOL_CALLS] [{"name": "NAME", "arguments": {…}}].',
    write, read, rules, lambda signatures: r" *\[\{",
)  # fmt: skip
