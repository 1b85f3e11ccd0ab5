"""Limits of tokens, money and time, from the command line, a task file and a saved model."""

from __future__ import annotations

from dataclasses import replace

import pytest

from luthier.cli.main import run
from luthier.cli.tool_trace import limits_for
from luthier.content import ToolCall
from luthier.errors import TaskError, UserError
from luthier.models.adaptation import Adaptation, ToolUse
from luthier.models.fake import FakeBackend
from luthier.models.model import Model
from luthier.models.storage import open_adaptation
from luthier.models.tool_loop import open_tools
from luthier.records import Budget
from luthier.task.task import Task
from luthier.techniques.tools.tool_calling import ToolCalling
from luthier.tools import ToolLimits
from luthier.tools.read_limits import read_limits, split_limits

ROWS = [{"input": f"{i} + 1?", "target": str(i + 1)} for i in range(30)]
KEYS = {
    "input": "input", "target": "target", "instruction": "Calculate.", "name": "sums",
    "kind": "question-answering", "tools": ["calculator"],
}  # fmt: skip


def always_calls(prompt: str) -> ToolCall:
    return ToolCall("calculator", {"expression": f"{len(prompt)} + 1"})


def test_what_is_written_is_read() -> None:
    text = "tokens=4000, seconds=2.5,money=0.02,prices=0.15/0.60,steps=3"
    assert read_limits(split_limits(text)) == ToolLimits(
        steps=3, tokens=4000, seconds=2.5, money=0.02, prices=(0.15, 0.6)
    )
    assert read_limits({"money": 1, "prices": [0, 1]}).prices == (0.0, 1.0)
    assert read_limits({}) == ToolLimits()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("token=5", "no limit 'token'"),
        ("tokens", "limits nothing"),
        ("tokens=few", "not a whole number"),
        ("tokens=1.5", "not a whole number"),
        ("seconds=nan", "not a number"),
        ("tokens=0", "tokens is 0"),
        ("money=-1,prices=1/1", "money is -1"),
        ("money=1", "nobody said what tokens cost"),
        ("money=1,prices=3", "prices is '3'"),
    ],
)
def test_what_is_no_limit_is_refused(text, words, capsys) -> None:
    with pytest.raises(UserError, match=words):
        read_limits(split_limits(text))
    assert run(["ask", "fake", "hello", "--tool", "calculator", "--tool-limits", text]) == 2
    assert words.split("'")[0] in capsys.readouterr().err.replace("\n", " ")


def test_the_price_book_prices_what_is_limited_in_money(tmp_path, capsys) -> None:
    book = tmp_path / "prices.yaml"
    book.write_text("models:\n  fake*:\n    per_1m_input: 0.5\n    per_1m_output: 2\n")
    model = Model(FakeBackend(always_calls))
    assert limits_for(model, "money=0.5", str(book)).prices == pytest.approx((0.5, 2.0))
    assert limits_for(model, "money=0.5,prices=1/2", str(book)).prices == (1.0, 2.0)
    with pytest.raises(UserError, match="what tokens cost"):
        limits_for(model, "money=0.5")
    limited = ["--tool", "calculator", "--tool-limits", "money=0.5", "--prices", str(book)]
    assert run(["ask", "fake", "hello", *limited]) == 0
    capsys.readouterr()


def test_tokens_and_money_of_a_task_file_end_an_answer() -> None:
    for limits, words in (
        ({"tokens": 30}, "tokens are used"),
        ({"money": 1e-5, "prices": [1.0, 1.0]}, "is spent"),
        ({"steps": 2}, "2 steps were made"),
    ):
        task = Task.from_examples(ROWS, **KEYS, tool_limits=limits)
        assert task.spec.tool_limits == read_limits(limits)
        fitted = ToolCalling(shots=0).fit(
            Model(FakeBackend(always_calls)), task.without_test(), budget=Budget(tokens=500_000)
        )
        response = fitted.respond("How much is 2 + 2, and then 3 + 3, and then 4 + 4?")
        assert words in response.stopped
        assert len(response.steps) < 4
    assert task.fingerprint != Task.from_examples(ROWS, **KEYS).fingerprint
    for wrong in ({"tokens": "few"}, {"speed": 3}, 5):
        with pytest.raises(TaskError, match="tool_limits"):
            Task.from_examples(ROWS, **KEYS, tool_limits=wrong)


def test_a_saved_model_keeps_its_limits(tmp_path) -> None:
    use = ToolUse(addresses=("calculator",), limits=ToolLimits(tokens=90, money=2, prices=(1, 2)))
    Model(FakeBackend(), Adaptation(tools=use)).save(tmp_path / "model")
    found = open_adaptation(tmp_path / "model")[0].tools
    assert found is not None
    assert found.limits == use.limits
    assert open_tools(found).limits == replace(use.limits, steps=8)
