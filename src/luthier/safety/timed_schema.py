"""JSON schemas that somebody wrote: nothing is fetched, and every check has a time limit.

A few lines of `allOf` and `$ref` take as long as one likes, and so does a `pattern`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import regex

MOST_SECONDS = 2.0  # of one check; a sound schema takes milliseconds
# Keywords within keywords. A schema that leads to itself stops here, and not at the end of the
# stack, where the library's own store of references panics.
MOST_DEPTH = 100
_DEADLINE = threading.local()


class SchemaTimeoutError(Exception):
    """A check was not done in time."""

    def __init__(self) -> None:
        super().__init__(f"the check was not done after {MOST_SECONDS:g} seconds")


class TimedValidator:
    """A schema to check values against. SchemaError where it is none."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        from jsonschema import Draft202012Validator
        from jsonschema.validators import validator_for
        from referencing import Registry

        plain = validator_for(schema, Draft202012Validator)
        _in_time(lambda: plain.check_schema(dict(schema)))
        # An empty registry: the default one would open the address of a remote $ref.
        self._validator = _timed(plain)(dict(schema), registry=Registry())

    def is_valid(self, value: Any) -> bool:
        """Whether a value follows the schema. SchemaTimeoutError where that takes too long."""
        return bool(_in_time(lambda: self._validator.is_valid(value)))

    def validate(self, value: Any) -> None:
        """ValidationError where a value does not follow the schema; SchemaTimeoutError."""
        _in_time(lambda: self._validator.validate(value))


def _in_time(check: Callable[[], Any]) -> Any:
    _DEADLINE.at = time.monotonic() + MOST_SECONDS
    _DEADLINE.depth = 0
    try:
        return check()
    finally:
        _DEADLINE.at = None


def _seconds_left() -> float:
    at = getattr(_DEADLINE, "at", None)
    left = MOST_SECONDS if at is None else at - time.monotonic()
    if left <= 0:
        raise SchemaTimeoutError
    return float(left)


@lru_cache(maxsize=16)
def _timed(kind: Any) -> Any:
    """The class of validators with a look at the clock before each keyword, and with patterns that
    end."""
    from jsonschema.validators import extend

    keywords = {name: _watched(check) for name, check in kind.VALIDATORS.items()}
    for name, check in (("pattern", _pattern), ("patternProperties", _pattern_properties)):
        if name in keywords:
            keywords[name] = check
    return extend(kind, validators=keywords)  # type: ignore[no-untyped-call]


def _watched(check: Any) -> Any:
    def watched(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        _seconds_left()
        if _DEADLINE.depth >= MOST_DEPTH:
            raise RecursionError(f"the check goes more than {MOST_DEPTH} keywords deep")
        _DEADLINE.depth += 1
        try:
            for error in check(validator, value, instance, schema) or ():
                _seconds_left()
                yield error
        finally:
            _DEADLINE.depth -= 1

    return watched


def _found(pattern: str, text: str) -> bool:
    try:
        return _compiled(pattern).search(text, timeout=_seconds_left()) is not None
    except TimeoutError as error:
        raise SchemaTimeoutError from error


@lru_cache(maxsize=1000)
def _compiled(pattern: str) -> regex.Pattern[str]:
    return regex.compile(pattern)


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if validator.is_type(instance, "string") and not _found(pattern, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(
    validator: Any, patterns: Mapping[str, Any], instance: Any, schema: Any
) -> Iterator[Any]:
    if not validator.is_type(instance, "object"):
        return
    for pattern, inner in patterns.items():
        for key, value in instance.items():
            if _found(pattern, key):
                yield from validator.descend(value, inner, path=key, schema_path=pattern)
