"""Patterns and schemas of users end, and schemas fetch nothing."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest

from luthier.errors import TaskError
from luthier.models.adaptation import Decoding
from luthier.records import Example
from luthier.safety import timed_schema
from luthier.safety.timed_schema import SchemaTimeoutError, TimedValidator
from luthier.scoring import resolve_scorer
from luthier.scoring.scorers import patterns
from luthier.task.task_schema import checked_schema
from tests.attacks.watch import ends

EVIL = ["(a+)+$", "(a|aa)+$", "(a|a?)+$", "(.*a){25}$", "^(([a-z])+.)+[A-Z]([a-z])+$"]
SLOW = "a" * 5000 + "!"
DOUBLING = {
    "$defs": {
        "a0": {"type": "string", "minLength": 1},
        **{f"a{i}": {"allOf": [{"$ref": f"#/$defs/a{i - 1}"}] * 2} for i in range(1, 40)},
    },
    "$ref": "#/$defs/a39",
}  # fmt: skip
CIRCLE = {"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}]}},
          "$ref": "#/$defs/a"}  # fmt: skip


@pytest.fixture(autouse=True)
def sooner(monkeypatch):
    """The limits are seconds; tests need not wait for them."""
    monkeypatch.setattr(timed_schema, "MOST_SECONDS", 0.3)
    monkeypatch.setattr(patterns, "MOST_SECONDS", 0.3)


@pytest.mark.parametrize("pattern", EVIL)
def test_a_pattern_of_a_scorer_ends(pattern):
    scorer = resolve_scorer(f"regex:{pattern}")
    with ends(pattern):
        assert scorer.score(SLOW, "x") in (0.0, 1.0)


@pytest.mark.parametrize("pattern", EVIL)
@pytest.mark.parametrize("where", ["pattern", "patternProperties"])
def test_a_pattern_of_a_schema_ends(pattern, where):
    schema = {"pattern": pattern} if where == "pattern" else {where: {pattern: {"type": "number"}}}
    value = SLOW if where == "pattern" else {SLOW: 1}
    with ends(pattern), suppress(SchemaTimeoutError):
        TimedValidator(schema).is_valid(value)


def test_definitions_that_double_end():
    with pytest.raises(SchemaTimeoutError):
        TimedValidator(DOUBLING).is_valid("x")
    with pytest.raises(TaskError, match="takes too long"):
        checked_schema(DOUBLING, [Example("1", "a", json.dumps("x"))])
    with pytest.raises(TaskError, match="takes too long"):
        resolve_scorer("json-schema", schema=DOUBLING).score('"x"', "")


def test_definitions_in_a_circle_end():
    with pytest.raises((RecursionError, SchemaTimeoutError)):
        TimedValidator(CIRCLE).is_valid("x")
    with pytest.raises(TaskError):
        checked_schema(CIRCLE, [Example("1", "a", '"x"')])
    assert resolve_scorer("json-schema", schema=CIRCLE).score('"x"', "") == 0.0


@pytest.mark.parametrize("schema", [DOUBLING, CIRCLE, {"pattern": EVIL[0]}])
def test_a_grammar_of_a_schema_ends(schema):
    with ends(schema):
        Decoding(json_schema=schema)


def test_a_schema_fetches_nothing(serve, monkeypatch):
    address, server = serve()
    schema = {"$ref": f"{address}/schema.json"}
    with pytest.raises(TaskError):
        checked_schema(schema, [Example("1", "a", '"x"')])
    with pytest.raises(TaskError):
        resolve_scorer("json-schema", schema=schema).score('"x"', "")
    assert server.got == []


def test_sound_schemas_say_what_they_said():
    schema = {
        "type": "object",
        "properties": {"a": {"pattern": "^x+$"}},
        "required": ["a"],
        "patternProperties": {"^n_": {"type": "number"}},
        "additionalProperties": False,
    }
    validator = TimedValidator(schema)
    good, bad = [{"a": "xx"}, {"a": "x", "n_1": 2}], [{}, {"a": "y"}, {"a": "x", "n_1": "2"},
                                                     {"a": "x", "b": 1}, 3]  # fmt: skip
    assert all(validator.is_valid(value) for value in good)
    assert not any(validator.is_valid(value) for value in bad)
