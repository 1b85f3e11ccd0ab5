"""Answers may be as long as training targets are in tokens of the base; cut ones are counted."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

import luthier
from luthier.compare.comparison import Run, TechniqueResult
from luthier.compare.verdict.advice import advise
from luthier.models.adaptation import Adaptation, Decoding
from luthier.models.fake import FakeBackend
from luthier.models.model import Model
from luthier.records import SampleScore, Score
from luthier.report.terminal import terminal_table
from luthier.scoring import evaluate
from luthier.task.task import Task
from tests import tiny
from tests.report_example import example_comparison
from tests.test_compare_verdict import evidence

pytestmark = pytest.mark.inputs

CHINESE = "公司今天宣布裁员三百人主要涉及海外部门并表示将在下个季度重新评估全部业务的盈利情况"
OBJECT = json.dumps({"name": "Ada", "city": "London", "items": [{"sku": "A-1", "count": 2}] * 2})
TARGETS = {
    "Chinese": lambda i: f"{CHINESE}{chr(0x4E00 + i)}",
    "Thai": lambda i: f"บริษัทประกาศปลดพนักงานสามร้อยคนในต่างประเทศ {i}",
    "JSON": lambda i: OBJECT.replace("Ada", f"Ada {i}"),
    "addresses": lambda i: f"https://example.org/shop/outdoor/item-{i}?colour=green&size=large",
    "emoji": lambda i: "😀🎉🚀" * 8 + str(i),
    "English": lambda i: f"the firm will cut three hundred jobs next quarter {i}",
    "code": lambda i: f"def f{i}(x):\treturn [y**2 for y in range(x) if y % {i + 2} == 0]",
}


def task_of(target, count=40, **more):
    rows = [(f"row {i} of many {chr(0x5100 + i)}", target(i)) for i in range(count)]
    return Task.from_examples(rows, instruction="Sum up", kind="generate", leaks="keep", **more)


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("known", [True, False], ids=["tokens", "estimate"])
def test_the_limit_holds_every_target(name, known):
    backend = tiny.backend("llama")
    task = task_of(TARGETS[name])
    limit = task.base_decoding(backend if known else None).max_new_tokens
    longest = max(backend.count_tokens(e.target) for e in task.train)
    assert limit > longest or not known  # this base has a token a byte: no estimate covers it all
    if known:
        assert limit <= max(16, 1.25 * longest + 2)


@pytest.mark.parametrize("name", TARGETS)
def test_the_estimate_holds_what_nano_needs(name):
    count = luthier.load("nano").backend.count_tokens
    task = task_of(TARGETS[name])
    assert task.base_decoding().max_new_tokens > max(count(e.target) for e in task.train)


def test_one_outlier_does_not_set_the_limit():
    """Words are tokens here: 21 of most targets, 501 of one."""
    rows = [(f"row {i}", "word " * (500 if i == 0 else 20) + str(i)) for i in range(60)]
    splits = {"train": rows, "dev": [("dev", "a 1")], "test": [("test", "a 2")]}
    task = Task.from_examples(splits, instruction="Sum up", kind="generate", leaks="keep")
    assert task.base_decoding(FakeBackend()).max_new_tokens == 54  # a quarter above 2 · 21


def test_the_task_file_comes_first():
    assert task_of(TARGETS["English"], max_new_tokens=7).base_decoding().max_new_tokens == 7


def sample(cut: bool, number: int = 0) -> SampleScore:
    return SampleScore(str(number), "in", "out", "raw", None, False, 0.0, cut=cut)


def result_of(cut: int, of: int = 20) -> TechniqueResult:
    samples = tuple(sample(k < cut, k) for k in range(of))
    score = Score("exact-match", 0.5)
    run = Run(0, "finished", score, Score("parse-rate", 0.5), sample_scores=samples)
    return TechniqueResult(
        "zero-shot", "zero-shot", "prompt", False, "finished", score, run.parse_rate, (run,)
    )


@pytest.mark.parametrize(("cut", "share"), [(0, 0.0), (1, 0.05), (20, 1.0)])
def test_cut_answers_are_in_the_json(cut, share):
    assert result_of(cut).to_json()["cut_answers"] == share


@pytest.mark.parametrize("share", [0, 1, 20])
def test_advice_and_table_tell_of_cut_answers(share):
    told = " ".join(advise(evidence([result_of(share), result_of(0)]), None))
    assert ("cut at the limit" in told) == (share > 0)
    assert "say in the instruction exactly how to answer" not in told or not share
    comparison = example_comparison()
    first = comparison.results[0]
    run = replace(first.runs[0], sample_scores=result_of(share).runs[0].sample_scores)
    shown = replace(comparison, results=(replace(first, runs=(run,)), *comparison.results[1:]))
    console = Console(width=150, file=io.StringIO())
    console.print(terminal_table(shown))
    text = console.file.getvalue()
    assert ("answers cut at the limit of new tokens" in text) == (share > 0)
    assert share == 0 or f"{5 * share} %" in text


@pytest.mark.parametrize("limit", [2, 64])
def test_an_evaluation_counts_the_answers_that_were_cut(limit):
    task = task_of(TARGETS["English"])
    model = Model(
        FakeBackend(reply=lambda prompt: "the firm will cut jobs"),
        Adaptation(prompt=task.base_prompt(), decoding=Decoding(max_new_tokens=limit)),
    )
    result = evaluate(model, task)
    assert [s.cut for s in result.sample_scores] == [limit == 2] * len(result.sample_scores)


def test_a_base_that_never_ends_is_cut():
    model = tiny.model("llama").adapt(decoding=Decoding(max_new_tokens=3, stop=("\x00",)))
    task = task_of(TARGETS["English"])
    assert any(s.cut for s in evaluate(model, task, limit=5).sample_scores)
