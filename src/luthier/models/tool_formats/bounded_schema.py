"""Schemas whose every value is short, for a call that ran into the limit of new tokens.

A weak model goes on for ever with a list or a number. What fits a bounded schema fits the schema
that it was made of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from luthier.content import ToolSignature

MOST_CHARACTERS = 24  # of a text
MOST_ITEMS = 2  # of a list
MOST_NUMBER = 999_999
CLOSED = {"pattern", "format", "enum", "const"}  # these bound a text by themselves
FRACTION = 0.01  # numbers have two digits after the point


def bounded(signature: ToolSignature) -> ToolSignature:
    """The tool with arguments that end soon."""
    return replace(signature, parameters=_bounded(signature.parameters))


def _bounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_bounded(each) for each in value]
    if not isinstance(value, Mapping):
        return value
    found = {key: _bounded(each) for key, each in value.items()}
    kind = value.get("type")
    if kind == "string" and not CLOSED & {*value}:
        found["maxLength"] = _least(value, "maxLength", MOST_CHARACTERS, "minLength")
    elif kind == "array":
        found["maxItems"] = _least(value, "maxItems", MOST_ITEMS, "minItems")
    elif kind in ("integer", "number") and not CLOSED & {*value}:
        # A bound of the schema's own may lie beyond ours: then it stands.
        low = value.get("minimum", value.get("exclusiveMinimum", -MOST_NUMBER))
        high = value.get("maximum", value.get("exclusiveMaximum", MOST_NUMBER))
        if "minimum" not in value and "exclusiveMinimum" not in value:
            found["minimum"] = min(-MOST_NUMBER, high - MOST_NUMBER)
        if "maximum" not in value and "exclusiveMaximum" not in value:
            found["maximum"] = max(MOST_NUMBER, low + MOST_NUMBER)
        if kind == "number":
            found.setdefault("multipleOf", FRACTION)
    elif kind == "object" and "properties" not in value:
        found |= {"properties": {}, "additionalProperties": False}
        if value.get("required") or value.get("minProperties"):
            return dict(value)  # it needs keys that it does not name
    return found


def _least(schema: Mapping[str, Any], key: str, ours: int, least: str) -> int:
    """Our bound or the schema's own, whichever is less, and never below what it needs."""
    return max(min(int(schema.get(key, ours)), ours), int(schema.get(least, 0)))
