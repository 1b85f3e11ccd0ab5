"""The benchmarks of tools and feedback: what they train on, what they count."""

from __future__ import annotations

import json

import pytest
from benchmarks.bfcl_requests import Request
from benchmarks.calculations import QUESTIONS, right
from benchmarks.calls_lora import NONE_FITS, other_functions, training_examples
from benchmarks.opinions import measure as measure_opinions
from benchmarks.reward_pairs import FILE, pairs

from luthier.content import ToolCall, ToolSignature
from luthier.models.fake import FakeBackend
from luthier.models.model import Model
from luthier.tools.builtin.calculator import calculate

EXPRESSIONS = (
    "17 % of 2,350", "15% of 480", "8 % of 1,150", "25% of 84", "6% of 3,500", "48 * 26",
    "19.5 * 4", "45 * 37", "9 * 98", "12 * 24", "40 * 6", "652 + 764", "7.5 + 12.25",
    "1,999 + 2,001", "15 + 27 + 58", "34 + 18 + 7", "1,250 - 375", "301 - 88", "751 - 197",
    "500 - 128.5", "90 - 17 - 23", "936 / 12", "100 / 8", "6.4 / 1.6", "612 / 12", "340 / 85",
    "(14 + 6) * 3", "sqrt(1,764)", "2 ^ 10", "mean(12, 18, 30)",
)  # fmt: skip


def request(number: int) -> Request:
    function = ToolSignature(f"f{number}", "", {"type": "object", "properties": {}})
    return Request(f"question {number}", (function,), {f"f{number}": {"a": [number, ""]}})


def test_the_calculator_can_answer_all_thirty() -> None:
    assert len(QUESTIONS) == len({q for q, _ in QUESTIONS}) == len(EXPRESSIONS) == 30
    for (_, value), expression in zip(QUESTIONS, EXPRESSIONS, strict=True):
        assert float(calculate(expression)) == pytest.approx(float(value))


def test_a_question_is_right_where_a_call_gave_the_number() -> None:
    known = dict(zip((q for q, _ in QUESTIONS), EXPRESSIONS, strict=True))

    def answer(prompt: str) -> ToolCall | str:
        if "Result" in prompt:
            return "done"
        question = next(q for q in known if q in prompt)
        wrong = question == QUESTIONS[0][0]
        return ToolCall("calculator", {"expression": "1 + 1" if wrong else known[question]})

    assert right(Model(FakeBackend(answer))) == 29


def test_what_is_trained_on_shares_no_function_with_what_is_asked() -> None:
    pool = [request(k) for k in range(10)]
    left = other_functions(pool, [request(3), request(7)])
    assert [r.question for r in left] == [f"question {k}" for k in range(10) if k not in (3, 7)]


def test_one_in_five_learns_that_nothing_fits() -> None:
    pool = [request(k) for k in range(20)]
    examples, functions = training_examples(Model(FakeBackend()), pool, count=15)
    without = [e for e in examples if e.target == NONE_FITS]
    assert len(examples) == 15
    assert len(without) == 3
    for example in examples:
        number = str(example.input).split()[1]
        (function,) = functions[example.id]
        if example in without:
            assert function.name != f"f{number}"
        else:
            assert function.name == f"f{number}"
            assert f"f{number}" in example.target


def test_pairs_are_read_and_cut(tmp_path) -> None:
    rows = [
        {
            "conversations": [{"from": "human", "value": "a" * 50}],
            "chosen": {"from": "gpt", "value": "good" * 20},
            "rejected": {"from": "gpt", "value": worse},
        }
        for worse in ("bad" * 20, "good" * 20)
    ]
    (tmp_path / FILE).write_text(json.dumps(rows))
    (one,) = pairs(tmp_path)  # the other prefers nothing
    assert (one.example.target, one.example.rejected) == ("good" * 20, "bad" * 20)
    (cut,) = pairs(tmp_path, characters=10)
    assert cut.example.input == "a" * 10
    assert (cut.example.target, cut.example.rejected) == ("goodgoodgo", "badbadbadb")


@pytest.mark.slow
def test_opinions_of_many_processes_outlive_a_kill(tmp_path) -> None:
    found = measure_opinions(tmp_path, opinions=120, people=4)
    assert found["stored"] == found["accepted"] == 120
    assert found["lost"] == found["twice"] == found["annotators_that_failed"] == 0
    assert 0 < found["accepted_before_the_kill"] < 120
