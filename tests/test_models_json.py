"""What counts as JSON: the parser of answers and the scorers read it with one function."""

from __future__ import annotations

import pytest

from luthier.content import Usage
from luthier.models.adaptation import Decoding
from luthier.models.backend import Generated
from luthier.models.fake import FakeBackend
from luthier.models.json_reading import is_json, read_json
from luthier.models.model import Model
from luthier.models.parsing import read_response
from luthier.records import Example
from luthier.scoring import resolve_scorer

SCHEMA = {"type": "object"}
FENCED = '```json\n{"name": "Ada"}\n```'


def _answered(text: str) -> bool:
    """Whether a model that writes `text` under a schema has given a readable answer."""
    decoding = Decoding(json_schema=SCHEMA, stop=())
    model = Model(FakeBackend(lambda _: text)).adapt(decoding=decoding)
    return model.answer([Example("1", "Who?", "")])[0].parseable


@pytest.mark.parametrize(
    ("text", "readable"),
    [
        ('{"name": "Ada"}', True),
        (FENCED, True),
        ('{"value": NaN}', False),
        ('{"value": -Infinity}', False),
        ("Ada", False),
        ("[" * 100_000, False),
    ],
)
def test_parser_and_scorer_agree(text: str, readable: bool) -> None:
    scorer = resolve_scorer("json-schema", schema=SCHEMA)
    assert scorer.readable is not None
    assert scorer.readable(text) == readable
    assert (scorer.score(text, "") == 1.0) == readable
    if "\n" not in text:  # the fake model writes words with single spaces between them
        assert _answered(text) == readable


def test_a_fenced_answer_under_a_schema_counts_as_parsed() -> None:
    model = Model(FakeBackend()).adapt(decoding=Decoding(json_schema=SCHEMA))
    assert read_response(model, Generated(FENCED, Usage())).parseable
    assert read_json(FENCED) == {"name": "Ada"}


def test_nan_is_no_json_also_where_it_stands_in_a_fence() -> None:
    assert not is_json("```\n[NaN]\n```")
