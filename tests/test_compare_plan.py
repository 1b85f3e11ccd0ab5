"""The plan, run keys, nested shares, the clock."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import luthier
from luthier.cli.progress import plan_words
from luthier.compare.costs import PriceBook
from luthier.compare.estimate import measure_workload
from luthier.compare.make_plan import hard_cap, make_plan, memory_warning
from luthier.compare.open_bases import open_bases
from luthier.compare.options import Options
from luthier.compare.parse_budget import LEAST_SECONDS, parse_budget
from luthier.compare.plan import Estimate, Plan, PlannedTechnique
from luthier.compare.request import ComparisonRequest
from luthier.compare.running.run_keys import model_identity, run_key, slug, technique_identity
from luthier.compare.running.time_left import TimeLeft
from luthier.compare.running.training_shares import nested_order, training_share
from luthier.errors import BudgetError, TaskError
from luthier.models.fake import FakeBackend
from luthier.models.load import load
from luthier.models.model import Model
from luthier.models.prompt import Prompt
from luthier.records import Budget, Example
from luthier.task.task import Task
from luthier.techniques.base import Technique
from luthier.techniques.spelling import parse_technique
from tests.compare_stubs import Drawn, toy_task


def plan_of(
    task: Task, model: Model, techniques: list[Technique], *, budget: Budget, seeds: int,
    options: Options, prices: PriceBook,
) -> Plan:  # fmt: skip
    bases = open_bases([model], lambda _: tuple(techniques))
    request = ComparisonRequest(task, bases, budget, seeds, options, prices)
    return make_plan(request)


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("20m", 20), ("90s", 1.5), ("1h", 60), ("1.5 h", 90), ("10 min", 10), ("2hours", 120)],
)
def test_times_are_read(text: str, minutes: float) -> None:
    assert parse_budget(text) == Budget(minutes=minutes)


@pytest.mark.parametrize(
    ("text", "tokens"), [("5Mtok", 5_000_000), ("500ktok", 500_000), ("70 tokens", 70)]
)
def test_tokens_are_read(text: str, tokens: int) -> None:
    assert parse_budget(text) == Budget(tokens=tokens)


@pytest.mark.parametrize("text", ["", "m", "20", "-3m", "1d", "5m3s", "1e3s", "nan m", "tok"])
def test_other_budgets_are_refused_with_the_choices(text: str) -> None:
    with pytest.raises(BudgetError) as told:
        parse_budget(text)
    assert repr(text) in told.value.problem
    assert "20m" in told.value.choices


@pytest.mark.parametrize(
    "budget", ["0m", "1s", "0tok", Budget(minutes=0.0), Budget(tokens=0), Budget(minutes=-1.0)]
)
def test_budgets_too_small_for_anything_are_refused_at_once(budget: str | Budget) -> None:
    with pytest.raises(BudgetError, match="too small for anything"):
        parse_budget(budget)
    assert parse_budget(f"{LEAST_SECONDS:.0f}s").minutes


@given(st.text(max_size=12))
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        found = parse_budget(text)
    except BudgetError:
        return
    assert (found.minutes or found.tokens or 0) > 0


def test_options_are_checked() -> None:
    for wrong in (
        {"limit": 0},
        {"tolerance": -1.0},
        {"tolerance": 100.0},
        {"curve": (0.5, 1.0)},
        {"curve": (0.0,)},
    ):
        with pytest.raises(TaskError):
            Options(**wrong)


def test_budget_is_shared_out_equally_among_what_tunes() -> None:
    plan = plan_of(
        toy_task(),
        load("fake"),
        [parse_technique("zero-shot"), parse_technique("few-shot"), Drawn(), Drawn(steps=2)],
        budget=Budget(tokens=9_900_000),
        seeds=3,
        options=Options(),
        prices=PriceBook(machine_hour=1.0),
    )
    assert {line.budget_tokens for line in plan.techniques} == {1_100_000}  # 3 + 3 + 3 fits
    assert [line.seeds for line in plan.techniques] == [(0,), *[(0, 1, 2)] * 3]
    assert [line.seeded for line in plan.techniques] == [False, True, True, True]
    assert [line.trained for line in plan.techniques] == [False, False, True, True]
    assert plan.power is not None
    assert plan.power.test_examples == plan.test_examples
    assert plan.tolerance == 3.0
    zero, few, *_ = plan.techniques
    assert (few.estimate.tokens or 0) > 1_100_000 > (zero.estimate.tokens or 0)
    assert plan.seconds == pytest.approx(sum(t.estimate.seconds or 0 for t in plan.techniques))
    assert (plan.money or 0) > 0
    assert plan.hard_cap_seconds is None


def test_minutes_say_the_tokens_that_make_the_same_plan() -> None:
    class Timed(FakeBackend):
        def tokens_per_second(self) -> float:
            return 5_000.0

    def planned(budget: Budget) -> Plan:
        return plan_of(
            toy_task(),
            Model(Timed()),
            [parse_technique("zero-shot"), parse_technique("few-shot"), Drawn()],
            budget=budget,
            seeds=3,
            options=Options(),
            prices=PriceBook(),
        )

    plan = planned(Budget(minutes=10))
    said = plan_words(plan, Path("runs/x"))
    again = planned(Budget(tokens=plan.tuning_tokens))
    assert [t.budget_tokens for t in again.techniques] == [t.budget_tokens for t in plan.techniques]
    assert f"--budget {plan.tuning_tokens}tok" in said
    assert f"{plan.tokens_per_second:,.0f} tokens a second" in said
    assert "a second" not in plan_words(again, Path("runs/x"))


def test_the_plan_says_what_this_machine_cannot_hold() -> None:
    few = [replace(planned_like("lora on big"), estimate=Estimate(peak_memory_bytes=40 * 10**9)),
           replace(planned_like("lora on small"), estimate=Estimate(peak_memory_bytes=10**9)),
           planned_like("unknown")]  # fmt: skip
    said = memory_warning(few, 8 * 10**9)
    assert said is not None
    assert "lora on big (40.0 GB)" in said
    assert "on small" not in said
    assert "unknown" not in said
    assert memory_warning(few[1:], 8 * 10**9) is None
    assert memory_warning(few, None) is None


def planned_like(name: str) -> PlannedTechnique:
    return PlannedTechnique(name, name, "adapter", True, {}, (0,), None)


def test_a_slow_machine_is_no_mistake_of_whoever_gave_no_budget() -> None:
    class Slow(FakeBackend):
        def tokens_per_second(self) -> float:
            return 1.0

    def planned(budget: Budget) -> Plan:
        return plan_of(
            toy_task(), Model(Slow(name="slow")), [Drawn()], budget=budget, seeds=3,
            options=Options(), prices=PriceBook(),
        )  # fmt: skip

    with pytest.raises(BudgetError, match="too small for 3 runs"):
        planned(Budget(minutes=10))
    unasked = planned(parse_budget(None))
    assert unasked.budget_minutes == 10
    assert (unasked.techniques[0].budget_tokens or 0) > 0


def test_what_cannot_run_takes_no_share() -> None:
    plan = plan_of(
        toy_task(),
        load("fake"),
        [Drawn(), parse_technique("lora")],
        budget=Budget(tokens=1_000_000),
        seeds=1,
        options=Options(),
        prices=PriceBook(),
    )
    assert plan.techniques[0].budget_tokens == 1_000_000
    assert plan.techniques[1].skip_reason is not None
    assert plan.techniques[1].estimate.tokens is None


def test_the_hard_cap() -> None:
    assert hard_cap(Budget(minutes=10), Options()) == 900
    assert hard_cap(Budget(minutes=10), Options(hard_cap_minutes=2)) == 120
    assert hard_cap(Budget(tokens=10), Options()) is None


def test_the_workload_counts_what_a_request_reads() -> None:
    task, model = toy_task(), load("fake")
    workload = measure_workload(task, model, limit=None)
    shown = model.adapt(prompt=task.base_prompt(), decoding=task.base_decoding())
    usage = [a.usage.prompt_tokens for a in shown.answer(task.train[:64])]
    assert workload.prompt == pytest.approx(sum(usage) / len(usage), rel=0.05)
    assert workload.answer == 3
    assert workload.shared == 0  # a fake model computes everything each time
    assert measure_workload(task, model, limit=5).test_examples == 5


def test_every_part_of_the_question_is_in_the_key() -> None:
    task, stub = toy_task(), Drawn()
    usual = {"seed": 0, "budget_tokens": 1000, "limit": None, "part": ""}
    keys = [
        run_key(task, "m", stub, **{**usual, **changed})  # type: ignore[arg-type]
        for changed in (
            {}, {"seed": 1}, {"budget_tokens": 1001}, {"budget_tokens": None}, {"limit": 5},
            {"part": "curve 0.5"},
        )
    ]  # fmt: skip
    keys.append(run_key(task, "n", stub, **usual))  # type: ignore[arg-type]
    keys.append(run_key(task, "m", Drawn(steps=9), **usual))  # type: ignore[arg-type]
    other = replace(task, spec=replace(task.spec, instruction="?"))
    keys.append(run_key(other, "m", stub, **usual))  # type: ignore[arg-type]
    assert len(set(keys)) == len(keys)
    assert keys[0] == run_key(toy_task(), "m", Drawn(), **usual)  # type: ignore[arg-type]


def test_keys_are_the_same_in_another_process() -> None:
    code = (
        "from luthier.techniques.spelling import parse_technique as p\n"
        "from luthier.compare.running.run_keys import technique_identity\n"
        "from luthier.serialization import digest\n"
        "print(digest([technique_identity(p(t)) for t in ('few-shot', 'few-shot -> lora')]))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    }
    assert len(said) == 1
    assert len(said.pop().strip()) == 64


def test_an_adaptation_makes_another_model() -> None:
    bare = load("fake")
    assert model_identity(bare) == bare.backend.fingerprint
    one = model_identity(bare.adapt(prompt=Prompt(instruction="one")))
    other = model_identity(bare.adapt(prompt=Prompt(instruction="other")))
    assert len({one, other, bare.backend.fingerprint}) == 3


def test_settings_are_plain_and_named_by_class() -> None:
    identity = technique_identity(Drawn(shots=2))
    assert identity["settings"]["shots"] == 2
    assert identity["class"].endswith("compare_stubs.Drawn")


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("lora", "lora"),
        ("few-shot -> lora(rank=4)", "few-shot-lora-rank-4"),
        ("../../etc", "etc"),
        ("é", "technique"),
    ],
)
def test_names_become_folders(name: str, folder: str) -> None:
    assert slug(name) == folder
    long = slug("x" * 300), slug("x" * 301)
    assert len(set(long)) == 2
    assert all(len(s) < 100 for s in long)


@given(st.lists(st.sampled_from("aab"), min_size=1, max_size=60))
def test_shares_are_nested_and_keep_every_label(labels: list[str]) -> None:
    examples = tuple(Example(str(i), f"text {i}", label) for i, label in enumerate(labels))
    order = nested_order(examples, True)
    assert sorted(order) == list(range(len(examples)))
    kinds = len(set(labels))
    assert {labels[i] for i in order[:kinds]} == set(labels)


def test_a_share_is_a_fair_sample_of_train_alone() -> None:
    task = toy_task(300)
    quarter, half = training_share(task, 0.25), training_share(task, 0.5)
    assert {e.id for e in quarter.train} < {e.id for e in half.train} < {e.id for e in task.train}
    assert len(half.train) == round(len(task.train) / 2)
    assert (half.dev, half.test) == (task.dev, task.test)
    whole, part = Counter(e.target for e in task.train), Counter(e.target for e in half.train)
    assert all(abs(part[label] - whole[label] / 2) <= 1.5 for label in whole)
    assert training_share(task.without_test(), 0.25).is_locked


def test_the_clock_corrects_the_plan_by_what_happened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.compare.running.time_left.time.monotonic", lambda: 100.0)
    clock = TimeLeft([10.0, 10.0, 20.0])
    assert clock.left(0, 0.0) == 40.0
    clock.spent(0, 20.0, worked=True)  # twice as slow as planned
    assert clock.left(1, 0.0) == pytest.approx(60.0)
    assert TimeLeft([None, None]).left(0, 0.0) is None
    kept = TimeLeft([10.0, 10.0])
    kept.spent(0, 0.001, worked=False)
    assert kept.left(1, 0.0) == 10.0


def test_the_plan_counts_passes_and_warns_below_three() -> None:
    """Passes are those that the fits report; the budget that the warning names buys three."""
    task, model = luthier.Task.load("pydoc"), luthier.load("nano")
    names = [parse_technique(name) for name in ("zero-shot", "lora", "full", "prefix")]

    def plan(budget: str | None) -> Plan:
        return plan_of(
            task, model, names, budget=parse_budget(budget), seeds=1, options=Options(limit=8),
            prices=PriceBook(),
        )  # fmt: skip

    unasked = plan(None)
    assert unasked.warnings == ()
    assert unasked.budget_tokens == unasked.enough_tokens
    few = plan("18ktok")
    by_name = {p.name: p.estimate.epochs for p in few.techniques}
    assert by_name["zero-shot"] is None
    assert 0 < (by_name["full"] or 0) < (by_name["lora"] or 0) < 3
    (warning,) = few.warnings
    assert "lora" in warning
    assert "full" in warning
    assert warning in plan_words(few, Path("runs"))
    enough = plan(re.search(r"--budget (\S+) buys 3", warning)[1])  # type: ignore[index]
    assert enough.warnings == ()
    assert enough.enough_tokens == few.enough_tokens
    assert plan("18ktok").enough_tokens == few.enough_tokens
    assert min(p.estimate.epochs for p in enough.techniques if p.estimate.epochs is not None) >= 3
    fitted = luthier.LoRA().fit(model, task.without_test(), budget=luthier.Budget(tokens=6_000))
    assert fitted.lineage is not None
    assert fitted.lineage.fit.training is not None
    told = luthier.LoRA().passes(model, task, 6_000)
    assert told == pytest.approx(fitted.lineage.fit.training.epochs, rel=0.25)
