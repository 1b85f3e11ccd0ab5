"""What every form of calls has: how calls are written, read, and held to their schemas."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.content import ToolCall, ToolSignature

UNREADABLE = "unreadable_call"  # the name of a call whose JSON is broken


@dataclass(frozen=True, slots=True)
class CallText:
    """A generated text, read: what stands outside the calls, and the calls."""

    text: str
    calls: tuple[ToolCall, ...]


@dataclass(frozen=True, slots=True)
class CallFormat:
    """One family's form of calls.

    **Fields**

    - `name`: "plain", "hermes", "llama", "mistral", "gemma" or "gemma-tags".
    - `how`: what a model without a template for tools is told about the form; `NAME` and `{…}`
      stand for a call.
    - `write`: calls as the model would write them.
    - `read`: the calls in a text; of the tools only the names are needed.
    - `rules`: the form as rules of a grammar whose rule `calls` is one call or several, where
      `args_k` are the arguments of tool k; None where no grammar can say it.
    - `marker`: a regular expression of how a text with calls begins, so that an answer does not.
    """

    name: str
    how: str
    write: Callable[[Sequence[ToolCall]], str]
    read: Callable[[str, Sequence[str]], CallText]
    rules: Callable[[Sequence[ToolSignature]], str] | None
    marker: Callable[[Sequence[ToolSignature]], str]


def loads_leniently(text: str) -> Any:
    """JSON, or what a model writes for it: single quotes, True, None. ValueError where it is
    neither."""
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError) as error:
        raise ValueError("no JSON") from error


def call_of(value: Any) -> ToolCall:
    """The call in an object with a name, and arguments or parameters, which may be JSON in a
    text."""
    if not isinstance(value, dict):
        return ToolCall(UNREADABLE, {})
    inner = value.get("function")
    if isinstance(inner, dict):
        value = {**inner, "id": value.get("id", "")}
    arguments: Any = next((value[k] for k in ("arguments", "parameters", "args") if k in value), {})
    if isinstance(arguments, str):
        try:
            arguments = loads_leniently(arguments)
        except ValueError:
            return ToolCall(UNREADABLE, {})
    name = value.get("name")
    if not isinstance(name, str) or not isinstance(arguments, dict):
        return ToolCall(UNREADABLE, {})
    return ToolCall(name, arguments, str(value.get("id") or ""))


def objects_in(text: str, start: int = 0) -> Iterator[tuple[int, int, Any]]:
    """(begin, end, value) of each JSON object or list that begins at a bracket, from `start` on;
    what is none is passed over."""
    decoder = json.JSONDecoder(strict=False)
    while start < len(text):
        places = [p for p in (text.find("{", start), text.find("[", start)) if p >= 0]
        if not places:
            return
        begin = min(places)
        try:
            value, end = decoder.raw_decode(text, begin)
        except (ValueError, RecursionError):
            start = begin + 1
            continue
        yield begin, end, value
        start = end


def json_text(call: ToolCall, *, arguments: str = "arguments") -> str:
    """`{"name": …, "arguments": {…}}`."""
    return json.dumps({"name": call.name, arguments: dict(call.arguments)}, ensure_ascii=False)


def quoted(text: str) -> str:
    """A text as a grammar writes it."""
    return json.dumps(text)


def call_rules(
    signatures: Sequence[ToolSignature], calls: str, *,
    before: str = "", key: str = "arguments", after: str = "",
) -> str:  # fmt: skip
    """The rules of a grammar for calls in JSON: `calls` says how they follow each other, `before`
    and `after` what stands around each, and `key` what its arguments are called."""
    ways = []
    for k, signature in enumerate(signatures):
        begin = f'{before}{{"name": "{signature.name}", "{key}": '
        ways.append(f"{quoted(begin)} args_{k} {quoted('}' + after)}")
    return f"calls: {calls}\ncall: {' | '.join(ways)}"
