"""Arguments of a call against the schema of the tool: what is wrong, in words for the model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from luthier.errors import UserError

MOST_FAULTS = 3


def faults(arguments: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """What is wrong with arguments; "" where they fit."""
    found = sorted(_validator(json.dumps(schema)).iter_errors(dict(arguments)), key=_place)
    words = [f"{_place(fault)}: {fault.message[:200]}" for fault in found[:MOST_FAULTS]]
    return "; ".join(words)


def checked_schema_of(parameters: Any, *, of: str) -> dict[str, Any]:
    """The schema of a tool's arguments. UserError where it is none that describes an object.

    `of` names the tool. A schema that refers to other files or addresses is refused: it would be
    looked up when a call is checked.
    """
    from jsonschema.exceptions import SchemaError

    if parameters in (None, {}):
        return {"type": "object", "properties": {}}
    if not isinstance(parameters, Mapping) or parameters.get("type", "object") != "object":
        raise UserError(
            f"the arguments of {of} are described by {str(parameters)[:80]!r}, not by an object",
            next_step="A tool's parameters are a JSON schema of type object.",
        )
    schema = {"type": "object", **parameters}
    outside = next(_outside_references(schema, schema), None)
    if outside is not None:
        raise UserError(
            f"the arguments of {of} refer to {outside!r}, which is not in their own schema",
            next_step="Put the definition into the schema, under $defs.",
        )
    try:
        validator = _validator(json.dumps(schema))
        type(validator).check_schema(schema)
    except (SchemaError, TypeError, ValueError, RecursionError) as error:
        said = error.message if isinstance(error, SchemaError) else str(error)
        raise UserError(
            f"the arguments of {of} are described by no valid JSON schema: {said[:160]}",
            next_step="Mend the schema of the tool.",
        ) from error
    return schema


def _outside_references(value: Any, root: Mapping[str, Any]) -> Any:
    if isinstance(value, Mapping):
        target = value.get("$ref")
        if isinstance(target, str) and not _resolves(target, root):
            yield target
        for inner in value.values():
            yield from _outside_references(inner, root)
    elif isinstance(value, list):
        for inner in value:
            yield from _outside_references(inner, root)


def _resolves(target: str, root: Mapping[str, Any]) -> bool:
    if not target.startswith("#"):
        return False
    place: Any = root
    for step in target.removeprefix("#").strip("/").split("/"):
        if not step:
            continue
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(place, Mapping) and key in place:
            place = place[key]
        else:
            return False
    return True


@lru_cache(maxsize=512)
def _validator(schema: str) -> Any:
    import jsonschema

    content = json.loads(schema)
    kind = jsonschema.validators.validator_for(content, jsonschema.Draft202012Validator)
    return kind(content)


def _place(fault: Any) -> str:
    return str(fault.json_path).removeprefix("$.").replace("$", "arguments")
