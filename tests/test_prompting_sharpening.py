"""Sharper wording, step by step, without a model that writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from luthier.content import Response
from luthier.models.fake import FakeBackend
from luthier.models.model import Model
from luthier.models.prompt import Prompt
from luthier.records import Budget, Example
from luthier.task.task import Task
from luthier.techniques.prompt.prompt_search import PromptSearch
from luthier.techniques.search.candidate import Candidate
from luthier.techniques.search.evaluator import CandidateEvaluator
from luthier.techniques.search.sharpening import (
    confused,
    described,
    difference,
    sharpen,
    typical_words,
)
from luthier.techniques.search.token_budget import TokenBudget

ABOUT = {"delivery": "parcel courier", "fault": "screen broken", "refund": "money back"}


def rows(count: int) -> list[dict[str, str]]:
    return [
        {"input": f"hello {i}, please help: {words} again", "target": label}
        for i in range(count)
        for label, words in ABOUT.items()
    ]


@pytest.fixture(scope="module")
def task() -> Task:
    return Task.from_examples(rows(20), name="queues", instruction="Choose a queue")


class Mistaken(FakeBackend):
    """Takes refunds for deliveries until a prompt says what they differ in."""

    def __init__(self) -> None:
        super().__init__()
        self.prompts: set[str] = set()

    def told(self, prompt: Prompt, example: Example) -> str:
        self.prompts.add(prompt.instruction)
        if example.target == "refund" and "Choose delivery where" not in prompt.instruction:
            return "delivery"
        return example.target


def evaluator_of(task: Task, backend: Mistaken, monkeypatch: pytest.MonkeyPatch, tokens: int):  # type: ignore[no-untyped-def]
    model = Model(backend).adapt(prompt=task.base_prompt(), decoding=task.base_decoding())
    evaluator = CandidateEvaluator(
        model, task, token_budget=TokenBudget(tokens=tokens), calibrations=("none",), seed=0
    )

    def answers(model: Model, asked: Sequence[Example]) -> list[Response]:
        said = [backend.told(model.adaptation.prompt, e) for e in asked]
        return [Response(text=s, parsed=s, parseable=True) for s in said]

    monkeypatch.setattr(evaluator, "_answers", answers)
    return evaluator


def test_the_words_of_a_label_are_those_that_set_it_apart(task: Task) -> None:
    own = [e for e in task.train if e.target == "refund"]
    others = [e for e in task.train if e.target != "refund"]
    assert set(typical_words(own, others)) == {"money", "back"}, "not hello, please, again"
    assert typical_words(own, own) == []
    assert typical_words([], others) == []
    texts = dict(described(task.train, ("delivery", "refund")))
    assert texts["delivery"].startswith("for instance about ")
    assert {"parcel", "courier"} <= set(texts["delivery"].replace(",", "").split())
    assert described([], ("delivery",)) == ()


def test_a_difference_names_what_each_of_a_pair_is_about(task: Task) -> None:
    said = difference(task.train, ("delivery", "refund"), str.upper)
    assert said.startswith("Choose DELIVERY where it is about ")
    assert "and REFUND where it is about " in said
    assert difference(task.train, ("delivery", "nothing"), str) == ""


def test_what_is_mixed_up_is_told_apart_and_what_does_not_help_goes(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = Mistaken()
    evaluator = evaluator_of(task, backend, monkeypatch, 1_000_000)
    start = evaluator.add("start", evaluator.model.adaptation.prompt)
    kept = sharpen(evaluator, start, most=12, reserve=0.0)
    best: Candidate = kept[0]
    assert confused(evaluator, start) == [("delivery", "refund")]
    assert best.best[1] == 1.0 > start.best[1]
    assert best.changes == {"part": "wording", "change": "delivery or refund"}
    assert "mainly about" not in best.prompt.instruction, "pointed was tried and dropped"
    assert any("mainly about" in p for p in backend.prompts)
    assert not best.prompt.label_descriptions
    assert kept[-1] is start


def test_nothing_is_tried_that_the_budget_does_not_pay_for(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluator = evaluator_of(task, Mistaken(), monkeypatch, 10)
    start = evaluator.add("start", evaluator.model.adaptation.prompt)
    assert sharpen(evaluator, start, most=12, reserve=0.0) == [start]
    assert evaluator.token_budget.spent == 0


def test_the_search_ends_in_it_and_without_labels_it_does_nothing(task: Task) -> None:
    search = PromptSearch(calibrate=False, candidates=4)
    assert search.parts[-1] == "wording"
    fitted = search.fit(Model(FakeBackend()), task.without_test(), budget=Budget(tokens=200_000))
    assert fitted.lineage is not None
    tried = {step.part for step in fitted.lineage.fit.history}
    assert "wording" in tried
    assert (fitted.lineage.fit.spent_tokens or 0) <= 200_000
    free = Task.from_examples(
        [{"input": f"say {i}", "target": f"{i}"} for i in range(40)], kind="generate", name="free",
        instruction="Say it.",
    )  # fmt: skip
    again = replace(search, parts=("wording",), rounds=1)
    unsharpened = again.fit(Model(FakeBackend()), free.without_test(), budget=Budget(tokens=90_000))
    assert unsharpened.adaptation.prompt.instruction == "Say it."
