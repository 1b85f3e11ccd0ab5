"""The form of Llama 3: `{"name": …, "parameters": {…}}` as the whole answer; and the one with
`arguments`, which `nano` and many models without a template of tools know.

`<|python_tag|>` before it, several objects joined by `;`, and `<function=name>{…}</function>` (the
form of custom tools) are read as well.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

from luthier.content import ToolCall, ToolSignature
from luthier.models.tool_formats.shape import (
    UNREADABLE,
    CallFormat,
    CallText,
    call_of,
    call_rules,
    json_text,
    loads_leniently,
    objects_in,
)

_TAGGED = re.compile(r"<function=([\w.-]+)>(.*?)</function>", re.DOTALL)
_BEGINS = re.compile(r'\s*(?:<\|python_tag\|>)?\s*(?:```(?:json)?\s*)?(?=[\[{]\s*[{"])')


def write(calls: Sequence[ToolCall], *, key: str = "parameters") -> str:
    """An object for each call, joined by a semicolon."""
    return "; ".join(json_text(call, arguments=key) for call in calls)


def read(text: str, names: Sequence[str]) -> CallText:
    """Objects that a text begins with, where they name a tool; an object that names none is an
    answer."""
    tagged = _TAGGED.findall(text)
    if tagged:
        return CallText(_TAGGED.sub("", text).strip(), tuple(_of_tag(*t) for t in tagged))
    begins = _BEGINS.match(text)
    if begins is None:
        return CallText(text, ())
    values = [value for _, _, value in objects_in(text, begins.end())]
    flat = [v for value in values for v in (value if isinstance(value, list) else [value])]
    calls = [call_of(v) for v in flat if isinstance(v, dict) and "name" in v]
    known = [call for call in calls if call.name in names or "<|python_tag|>" in text]
    if not known and re.match(r'\s*(?:<\|python_tag\|>)?\s*\{\s*"name"', text) and not values:
        return CallText("", (ToolCall(UNREADABLE, {}),))
    return CallText("" if known else text, tuple(known))


def _of_tag(name: str, body: str) -> ToolCall:
    try:
        return call_of({"name": name, "arguments": loads_leniently(body)})
    except ValueError:
        return ToolCall(UNREADABLE, {})


def rules(signatures: Sequence[ToolSignature], *, key: str = "parameters") -> str:
    """An object or several."""
    return call_rules(signatures, 'call ("; " call)*', key=key)


JSON_CALLS = CallFormat(
    "json",
    "",
    partial(write, key="arguments"),
    read,
    partial(rules, key="arguments"),
    lambda signatures: r' *\{"name"',
)
LLAMA = CallFormat(
    "llama",
    'To use a tool, answer with {"name": "NAME", "parameters": {…}} and nothing else.',
    write, read, rules, lambda signatures: r' *\{"name"',
)  # fmt: skip
