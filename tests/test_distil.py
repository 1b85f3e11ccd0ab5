"""A teacher answers what nobody labelled, and a student learns from that."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

from luthier.compare.costs import Cost, Price, PriceBook, priced, with_helpers
from luthier.compare.verdict import decide
from luthier.errors import BudgetError, TechniqueError
from luthier.models.backend import ModelFacts
from luthier.models.fake import FakeBackend
from luthier.models.model import Model
from luthier.records import Budget, FitRecord, HelperUse
from luthier.task.task import Task
from luthier.techniques.distil import Distil, relative_size
from luthier.techniques.spelling import parse_technique
from tests import tiny
from tests.compare_stubs import WORDS, toy_task
from tests.test_compare_verdict import evidence, result


@pytest.fixture(scope="module")
def task() -> Task:
    return toy_task(60).without_test()


@pytest.fixture
def unlabelled(tmp_path: Path, task: Task) -> Path:
    """Twenty new messages, and one that stands in train, without its label."""
    texts = [f"unlabelled {i} on {WORDS['delivery'][i % 4]} and box" for i in range(20)]
    rows = [{"message": text} for text in (*texts, task.train[0].text, texts[0])]
    path = tmp_path / "more.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return path


def student(path: Path, /, **settings: object) -> Distil:
    made = {"teacher": "fake", "unlabelled": str(path), "student": "linear-probe"}
    return Distil(**{**made, **settings})  # type: ignore[arg-type]


def test_the_student_learns_from_the_answers_and_the_labels(task: Task, unlabelled: Path) -> None:
    model = tiny.model("llama")
    fitted = student(unlabelled, shots=9).fit(model, task, budget=Budget(tokens=40_000), seed=0)
    assert fitted.adaptation.head is not None
    lineage = fitted.lineage
    assert lineage is not None
    assert (lineage.technique, lineage.examples) == ("distil", task.example_hashes)
    fit = lineage.fit
    assert fit.settled["taught"] == 20, "not the one of train, and none twice"
    assert fit.train_examples == len(task.train) + 20
    (helper,) = fit.helpers
    assert (helper.model, helper.remote) == ("fake", False)
    assert helper.read_tokens > 0
    assert (fit.spent_tokens or 0) >= helper.read_tokens + helper.written_tokens
    assert (fit.spent_tokens or 0) <= 40_000


def test_the_teacher_takes_its_share_and_no_more(task: Task, unlabelled: Path) -> None:
    few = student(unlabelled, share=0.05, shots=0)
    fit = few.fit(tiny.model("llama"), task, budget=Budget(tokens=20_000)).lineage.fit  # type: ignore[union-attr]
    assert fit.helpers[0].read_tokens + fit.helpers[0].written_tokens <= 1_000
    assert fit.settled["taught"] + fit.settled["not reached"] == 20
    with pytest.raises(BudgetError, match="do not pay for 16 answers"):
        few.fit(tiny.model("llama"), task, budget=Budget(tokens=100))


def test_answers_that_are_not_sure_are_dropped(task: Task, unlabelled: Path) -> None:
    sure = student(unlabelled, shots=0, confidence=0.99)
    with pytest.raises(TechniqueError, match="none of 20 answers"):
        sure.fit(tiny.model("llama"), task, budget=Budget(tokens=40_000))


def test_a_larger_teacher_counts_for_more() -> None:
    small, large = ModelFacts(body_parameters=10), ModelFacts(body_parameters=70)
    assert relative_size(large, small) == 7.0
    assert relative_size(small, large) == 1.0
    assert relative_size(ModelFacts(remote=True), small) == 1.0


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"teacher": ""}, "teacher is not set"),
        ({"unlabelled": ""}, "unlabelled is not set"),
        ({"share": 1.0}, "share=1.0"),
        ({"confidence": -0.1}, "confidence=-0.1"),
        ({"shots": -1}, "shots=-1"),
        ({"student": "few-shot"}, "few-shot trains nothing"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, object], problem: str) -> None:
    with pytest.raises(TechniqueError, match=problem):
        student(Path("x.jsonl"), **settings)


def test_the_plan_counts_what_the_student_will_see(task: Task, unlabelled: Path) -> None:
    model = tiny.model("llama")
    lora = parse_technique("lora").passes(model, task, 20_000)
    taught = student(unlabelled, student="lora").passes(model, task, 40_000)
    assert taught == pytest.approx((lora or 0) * len(task.train) / (len(task.train) + 20))
    assert student(unlabelled).passes(model, task, 40_000) is None, "a probe makes no passes"
    assert "no file gone.jsonl" in (student(Path("gone.jsonl")).unmet_by_task(task) or "")
    assert student(unlabelled).unmet_by_task(task) is None


def test_nothing_new_to_answer_is_an_error(task: Task, tmp_path: Path) -> None:
    path = tmp_path / "known.jsonl"
    path.write_text(json.dumps({"message": task.train[0].text}), "utf-8")
    with pytest.raises(TechniqueError, match="holds no input"):
        student(path).fit(tiny.model("llama"), task, budget=Budget(tokens=9_000))


def test_other_inputs_are_another_run(unlabelled: Path) -> None:
    before = student(unlabelled).content()
    with unlabelled.open("a", encoding="utf-8") as file:
        file.write('\n{"message": "one more"}')
    assert student(unlabelled).content() != before is not None


def test_the_price_of_the_teacher_is_its_own(
    task: Task, unlabelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = Model(
        FakeBackend(name="http://t/v1#big", facts=ModelFacts(context_length=4096, remote=True))
    )
    monkeypatch.setattr(import_module("luthier.models.load"), "load", lambda name: far)
    fit = (
        student(unlabelled).fit(tiny.model("llama"), task, budget=Budget(tokens=40_000)).lineage.fit
    )  # type: ignore[union-attr]
    (helper,) = fit.helpers
    assert (helper.model, helper.remote) == ("http://t/v1#big", True)
    book = PriceBook(models={"*big": Price(input=2e-6, output=8e-6)})
    cost = with_helpers(Cost(fit_tokens=float(fit.spent_tokens or 0), fit_seconds=36.0), fit, book)
    teacher = helper.read_tokens * 2e-6 + helper.written_tokens * 8e-6
    assert cost.helper_money == pytest.approx(teacher)
    paid = priced(cost, Price(machine_hour=1.0))
    assert paid.fit_money == pytest.approx(0.01 + teacher)
    assert with_helpers(Cost(), fit, PriceBook()).helper_money is None, "no price, no money"
    unknown = with_helpers(Cost(fit_seconds=36.0), fit, PriceBook())
    assert priced(unknown, Price(machine_hour=1.0)).fit_money is None


def test_tokens_of_a_teacher_are_not_billed_twice() -> None:
    fit = FitRecord(spent_tokens=1_000, generated_tokens=100, helpers=(
        HelperUse("big", True, 300, 50),
    ))  # fmt: skip
    book = PriceBook(models={"big": Price(input=1.0, output=10.0)})
    cost = with_helpers(Cost(fit_tokens=1_000.0, fit_generated_tokens=100.0), fit, book)
    paid = priced(cost, Price(input=0.1, output=0.2)).fit_money
    assert paid == pytest.approx((1_000 - 350 - 100) * 0.1 + 100 * 0.2 + 300 + 500)


def test_where_a_teacher_is_billed_the_verdict_counts_money() -> None:
    taught = result("distil", 0.9, family="recipe", fit=900)
    taught = replace(
        taught, cost=replace(taught.cost, helper_money=3.0, fit_money=3.5, per_1k_requests=0.2)
    )
    lora = result("lora", 0.89, family="adapter", fit=900)
    lora = replace(lora, cost=replace(lora.cost, fit_money=0.5, per_1k_requests=0.2))
    made = evidence([taught, lora])
    verdict = decide(made)
    assert (verdict.pick, verdict.cost_unit) == ("lora", "money")
    assert made.total_cost(taught) == pytest.approx(3.5 + 0.2)
    assert "USD" in verdict.because


def test_it_can_be_written_on_the_command_line() -> None:
    made = parse_technique("distil(teacher='http://h/v1#m', unlabelled='more.jsonl', shots=2)")
    assert isinstance(made, Distil)
    assert (made.shots, made.learner.name, made.trained) == (2, "lora", True)
