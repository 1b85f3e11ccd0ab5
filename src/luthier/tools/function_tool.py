"""A Python function as a tool: its signature becomes a schema, its docstring the description."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from luthier.tools.tool import Tool, usable_name

_TYPES: Mapping[Any, str] = {
    str: "string", int: "integer", float: "number", bool: "boolean", list: "array", dict: "object",
    tuple: "array", type(None): "null",
}  # fmt: skip


def tool_of(function: Callable[..., Any], *, name: str = "", effects: bool = False) -> Tool:
    """The function as a tool. What its hints do not say may be anything."""
    described = inspect.getdoc(function) or ""
    if isinstance(function, type) or function.__class__.__module__ == "functools":
        described = ""
    return Tool(
        name=name or usable_name(getattr(function, "__name__", "tool")),
        description=described.split("\n\n")[0].replace("\n", " "),
        parameters=parameters_of(function),
        run=lambda arguments: function(**arguments),
        effects=effects,
    )


def parameters_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The JSON schema of a function's arguments."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return {"type": "object"}
    try:
        hints = get_type_hints(function)
    except (NameError, TypeError, AttributeError):
        hints = {}
    properties: dict[str, Any] = {}
    required = []
    open_ended = False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            open_ended = True
        elif parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            properties[parameter.name] = _schema_of(hints.get(parameter.name, Any))
            if parameter.default is parameter.empty:
                required.append(parameter.name)
    schema: dict[str, Any] = {"type": "object", "properties": properties, "required": required}
    return schema if open_ended else {**schema, "additionalProperties": False}


def _schema_of(hint: Any) -> dict[str, Any]:
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return {"enum": list(inner)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_schema_of(choice) for choice in inner]}
    kind = _TYPES.get(origin or hint)
    if kind == "array" and inner:
        return {"type": "array", "items": _schema_of(inner[0])}
    return {} if kind is None else {"type": kind}
