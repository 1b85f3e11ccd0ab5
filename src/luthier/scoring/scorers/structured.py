"""Scorers of JSON answers: whether they fit a schema, and which of their fields are right."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from luthier.errors import TaskError
from luthier.models.json_reading import is_json, read_json
from luthier.safety.timed_schema import SchemaTimeoutError, TimedValidator
from luthier.scoring.scorer import ScoreFunction, Scorer
from luthier.scripts import composed


def schema_validity(schema: Mapping[str, Any] | None) -> ScoreFunction:
    """A score of 1 when the prediction is JSON that fits the schema; any JSON where there is none.

    Nothing is fetched. TaskError where the schema itself is not valid.
    """
    if schema is None:
        return lambda prediction, target: float(is_json(prediction))
    from jsonschema.exceptions import SchemaError
    from referencing.exceptions import Unresolvable

    try:
        validator = TimedValidator(schema)
    except SchemaError as error:
        raise TaskError(
            f"The task's JSON schema is not valid: {error.message}.",
            next_step="Mend `schema` in the task file (https://json-schema.org).",
        ) from error

    def score(prediction: str, target: str) -> float:
        try:
            return float(validator.is_valid(read_json(prediction)))
        except (ValueError, RecursionError):
            return 0.0
        except SchemaTimeoutError as error:
            raise TaskError(
                f"The task's JSON schema takes too long on {prediction[:80]!r}: {error}.",
                next_step="Nested repetitions in a `pattern` take for ever: write it without.",
            ) from error
        except Unresolvable as error:
            raise TaskError(
                f"The task's JSON schema refers to {error.ref!r}, which it does not contain.",
                next_step="Put the definition under $defs; references are never downloaded.",
            ) from error

    return score


def json_fields(prediction: str, target: str) -> float:
    """F1 over the leaves (path, value) of two JSON values.

    Numbers are compared as numbers (1 is 1.0), text without white space at its ends and in one
    normal form; the order of a list counts.
    """
    try:
        expected = Counter(_leaves(read_json(target)))
    except ValueError as error:
        raise TaskError(
            f"The scorer json-fields needs JSON targets; got {target[:80]!r}.",
            next_step="Mend the target, or choose another scorer (token-f1, json-schema).",
        ) from error
    try:
        predicted = Counter(_leaves(read_json(prediction)))
    except (ValueError, RecursionError):
        return 0.0
    return 2.0 * (predicted & expected).total() / (predicted.total() + expected.total())


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, (*path, str(key)))
    elif isinstance(value, list) and value:
        for position, inner in enumerate(value):
            yield from _leaves(inner, (*path, str(position)))
    else:
        yield path, _leaf(value)


def _leaf(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(composed(value.strip()))
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value)


def _check_json(target: str) -> None:
    json_fields("", target)


def json_schema_scorer(schema: Mapping[str, Any] | None) -> Scorer:
    """The scorer json-schema against this schema; without one every JSON value is valid."""
    return Scorer("json-schema", schema_validity(schema), readable=is_json)


JSON_SCHEMA = json_schema_scorer(None)
JSON_FIELDS = Scorer("json-fields", json_fields, readable=is_json, check_target=_check_json)
