"""A grammar for texts that are calls of tools or an answer: every call fits its schema."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from luthier.content import ToolSignature
from luthier.models.grammar import JSON_OPTIONS, literal, unanchored

if TYPE_CHECKING:
    from luthier.models.adaptation import Decoding
    from luthier.models.tool_formats.shape import CallFormat

MOST_TEXT = 400  # characters of a text in a call, where the schema sets no limit


def tool_grammar(
    form: CallFormat, signatures: Sequence[ToolSignature], decoding: Decoding,
    labels: Sequence[str],
) -> str | None:  # fmt: skip
    """The grammar of one text; None where the form has none, or where a schema cannot be followed.

    An answer follows the decoding: labels, a regex, a JSON schema, or it is free text that does not
    begin as calls do.
    """
    if form.rules is None:
        return None
    lines = ['start: " "? calls END? | " "? answer', f"END: {_ends(decoding.stop)}"]
    lines.append(form.rules(signatures))
    for k, signature in enumerate(signatures):
        lines.append(f"args_{k}: %json {json.dumps(_schema(signature.parameters))}")
    lines += _answer(form.marker(signatures), decoding, labels)
    grammar = "\n".join(lines)
    return grammar if _compiles(grammar) else None


def _answer(marker: str, decoding: Decoding, labels: Sequence[str]) -> list[str]:
    ends = "|".join(map(literal, decoding.stop))
    tail = f"(?:{ends})?" if ends else ""
    if labels:
        return ["answer: ANSWER", f"ANSWER: /(?:{'|'.join(map(literal, labels))}){tail}/"]
    if decoding.regex is not None:
        return ["answer: ANSWER", f"ANSWER: /(?:{unanchored(decoding.regex)}){tail}/"]
    if decoding.json_schema is not None:
        schema = json.loads(str(decoding.json_schema))
        return [f"answer: %json {json.dumps(_schema(schema, cap=False))}"]
    return ["answer: ANSWER", rf"ANSWER: /(?s:.+)/ & ~/(?s:{marker}.*)/"]


def _ends(stop: Sequence[str]) -> str:
    """What may follow calls: the stop strings, or white space that is cut off."""
    return f"/{'|'.join(map(literal, stop)) or ' '}/"


def _schema(schema: Mapping[str, Any], *, cap: bool = True) -> dict[str, Any]:
    """The schema with the options of the grammar. Texts in calls have an end: a weak model would
    go on for ever."""
    found: dict[str, Any] = dict(_capped(schema)) if cap else dict(schema)
    if found.get("type", "object") == "object" and "additionalProperties" not in found and cap:
        found["additionalProperties"] = False
    return {"type": "object", **found, "x-guidance": JSON_OPTIONS} if cap else found


def _capped(value: Any) -> Any:
    if isinstance(value, Mapping):
        inner = {key: _capped(each) for key, each in value.items()}
        free = value.get("type") == "string" and not {"maxLength", "pattern", "format", "enum"} & {
            *value
        }
        return {**inner, "maxLength": MOST_TEXT} if free else inner
    if isinstance(value, list):
        return [_capped(each) for each in value]
    return value


@lru_cache(maxsize=256)
def _compiles(grammar: str) -> bool:
    from llguidance import LLMatcher

    failed, _ = LLMatcher.validate_grammar_with_warnings(grammar)
    return not failed
