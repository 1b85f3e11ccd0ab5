"""The machinery of the prompt techniques, piece by piece."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from luthier.content import Usage
from luthier.models.adaptation import Adaptation, Decoding
from luthier.models.fake import FakeBackend
from luthier.models.model import Model
from luthier.models.nearest import NearestDemonstrations
from luthier.models.prompt import Demonstration, Prompt, PromptFormat
from luthier.records import Budget, Example, Kind
from luthier.task.spec import TaskSpec
from luthier.task.task import Task
from luthier.techniques.search.calibration import (
    allowed_calibrations,
    batch_bias,
    class_prior,
    contextual_bias,
    cross_fitted,
    log_softmax,
    prior_bias,
)
from luthier.techniques.search.candidate import Candidate
from luthier.techniques.search.demonstration_sets import (
    balanced_set,
    diverse_set,
    other_orders,
    shot_counts,
)
from luthier.techniques.search.demonstrations import DemonstrationPool
from luthier.techniques.search.evaluator import CandidateEvaluator, balanced_order
from luthier.techniques.search.halving import HalvingSchedule, choose, close_to_best
from luthier.techniques.search.token_budget import TokenBudget, TokenEstimate, estimate_tokens
from luthier.techniques.search.variants import format_variants, instruction_variants

LABELS = ("a", "b", "c")


def softmax(values: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    return np.exp(log_softmax(values))


def test_contextual_bias_is_the_log_of_the_mean_probability() -> None:
    content_free = np.log(np.array([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1]])) - 3.0
    assert np.exp(contextual_bias(content_free)) == pytest.approx([0.4, 0.5, 0.1])


def test_batch_bias_ignores_a_constant_in_each_row() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(20, 3))
    moved = values + rng.normal(size=(20, 1)) * 100
    assert batch_bias(values) == pytest.approx(batch_bias(moved))
    # after it, every label has the same mean log-probability up to one constant
    after = (log_softmax(values) - batch_bias(values)).mean(axis=0)
    assert after == pytest.approx([0.0, 0.0, 0.0])


def test_prior_bias_makes_the_mean_prediction_the_prior() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(50, 3)) * 3 + np.array([4.0, 0.0, -2.0])
    prior = np.array([0.2, 0.3, 0.5])
    mean = softmax(values - prior_bias(values, prior)).mean(axis=0)
    assert mean == pytest.approx(prior, abs=1e-4)


def test_class_prior_counts_and_leaves_none_out() -> None:
    assert class_prior(["a", "a", "b"], LABELS) == pytest.approx([3 / 6, 2 / 6, 1 / 6])


def test_cross_fitting_never_uses_a_row_on_itself() -> None:
    values = np.zeros((12, 3))
    values[5] = [90.0, 0.0, 0.0]
    adjusted = cross_fitted(values, lambda rows: rows.max(axis=0), folds=4)
    assert adjusted[5, 0] == 90.0  # the outlier is not in the bias it is judged with
    assert (adjusted[:, 0] < 0).sum() >= 8  # and it is in that of the rows of other folds


@pytest.mark.parametrize(
    ("setting", "can_score", "names"),
    [
        ("auto", True, ("none", "contextual", "batch", "prior")),
        (True, True, ("contextual", "batch", "prior")),
        (False, True, ("none",)),
        ("prior", True, ("prior",)),
        ("auto", False, ("none",)),
    ],
)
def test_allowed_calibrations(setting: object, can_score: bool, names: tuple[str, ...]) -> None:
    assert allowed_calibrations(setting, can_score=can_score) == names


def demonstrations(count: int) -> tuple[Demonstration, ...]:
    words = [f"{LABELS[i % 3]}{i} topic{i % 7} {'x' * (i % 5)}" for i in range(count)]
    return tuple(Demonstration(w, LABELS[i % 3]) for i, w in enumerate(words))


def test_balanced_sets_hold_each_label_alike() -> None:
    chosen = balanced_set(demonstrations(60), 9, by_label=True, rng=random.Random(0))
    assert sorted(d.target for d in chosen) == sorted(LABELS * 3)
    assert len(set(chosen)) == 9
    assert chosen == balanced_set(demonstrations(60), 9, by_label=True, rng=random.Random(0))
    assert chosen != balanced_set(demonstrations(60), 9, by_label=True, rng=random.Random(1))
    # blocks of one label would teach the model to repeat it
    assert [d.target for d in chosen] != sorted(d.target for d in chosen)


def test_diverse_sets_cover_the_inputs() -> None:
    topics = ["parcel late courier", "refund money bank", "screen broken pixel"]
    many = tuple(Demonstration(f"{topics[i % 3]} {i}", "same") for i in range(30))
    chosen = diverse_set(many, 3, by_label=False, seed=0)
    assert {d.input.split()[0] for d in chosen} == {"parcel", "refund", "screen"}
    assert len(diverse_set(many[:2], 2, by_label=False, seed=0)) == 2
    same = tuple(Demonstration("same text", "x") for _ in range(9))
    assert len(diverse_set(same, 4, by_label=True, seed=0)) == 4


def test_orders_are_different_and_hold_the_same() -> None:
    shown = demonstrations(5)
    made = list(other_orders(shown, 4, seed=0))
    assert len(set(made)) == 4
    assert shown not in made
    assert all(set(order) == set(shown) for order in made)
    assert list(other_orders(shown[:1], 4, seed=0)) == []


def test_a_pool_keeps_within_the_available_tokens() -> None:
    shown = demonstrations(20)
    pool = DemonstrationPool(shown, tokens=(10,) * 19 + (500,), available_tokens=45)
    assert pool.max_shots == 4
    assert len(pool.short_enough(4)) == 19
    assert DemonstrationPool(shown, tokens=(50,) * 20, available_tokens=45).max_shots == 0
    assert DemonstrationPool((), (), 100).max_shots == 0


def test_shot_counts() -> None:
    assert shot_counts(40, labels=8, nearest=False) == (8, 16, 32)
    assert shot_counts(5, labels=8, nearest=False) == (5,)
    assert shot_counts(10, labels=8, nearest=True) == (2, 4, 8)
    assert shot_counts(9, labels=0, nearest=False) == (1, 2, 4, 8)
    assert shot_counts(0, labels=8, nearest=True) == ()


def test_nearest_leaves_an_example_out_of_its_own_demonstrations() -> None:
    shown = demonstrations(20)
    own = shown[7]
    near = NearestDemonstrations(shown)
    assert near.nearest([own.input], 3)[0][-1] == own
    assert own not in near.nearest([own.input], 3, leave_self_out=True)[0]
    signs = NearestDemonstrations((Demonstration("!!! ???", "a"), Demonstration("(((", "b")))
    assert signs.nearest(["((("], 1) == [(Demonstration("(((", "b"),)]


def make_task(kind: Kind = Kind.CLASSIFY, targets: str = "abc") -> Task:
    rows = [Example(str(i), f"text {i}", targets[i % len(targets)]) for i in range(30)]
    labels = tuple(targets) if kind == Kind.CLASSIFY else ()
    spec = TaskSpec(
        name="t", instruction="Do it", kind=kind, scorer="accuracy", labels=labels,
        context="House rules.",
        label_descriptions=tuple((label, f"kind {label}") for label in labels),
    )  # fmt: skip
    return Task(spec, train=tuple(rows), dev=tuple(rows[:12]), _test=None)


@pytest.mark.parametrize("kind", list(Kind))
def test_instructions_differ_and_change_one_part(kind: Kind) -> None:
    task = make_task(kind)
    start = task.base_prompt()
    made = list(instruction_variants(start, task))
    assert len({v.prompt for v in made}) == len(made) >= 4
    assert any(v.prompt.instruction == "" for v in made)
    assert any(v.part == "context" and v.prompt.context == "" for v in made)
    for variant in made:
        assert variant.prompt.demonstrations == start.demonstrations
        if variant.part != "instruction":
            assert variant.prompt.instruction == start.instruction


def test_formats_differ_and_depend_on_the_seed() -> None:
    task = make_task()
    start = task.base_prompt()

    def some(seed: int, *, chat: bool = False) -> list[Prompt]:
        variants = format_variants(start, task, seed=seed, chat=chat)
        return [next(variants).prompt for _ in range(25)]

    made = some(0)
    assert len(set(made)) == 25
    assert start not in made
    assert all(replace(p, format=start.format) == start for p in made)
    assert made == some(0)
    assert made != some(1)
    assert any(p.format.style == "plain" for p in some(0, chat=True)[:4])


def test_formats_keep_what_the_stop_string_needs() -> None:
    lines = make_task(Kind.GENERATE, "ab")
    paragraphs = replace(lines, train=tuple(replace(e, target="one\n\ntwo") for e in lines.train))
    assert paragraphs.base_decoding().stop[0].strip()
    made = list(format_variants(paragraphs.base_prompt(), paragraphs, seed=0, chat=False))
    assert made == []
    two = replace(lines, train=tuple(replace(e, target="one\ntwo") for e in lines.train))
    assert two.base_decoding().stop == ("\n\n",)
    variants = format_variants(two.base_prompt(), two, seed=0, chat=False)
    blocks = {next(variants).prompt.format.block_separator for _ in range(30)}
    assert blocks == {"\n\n"}


def test_examples_come_one_of_each_target_in_turn() -> None:
    rows = [Example(str(i), "x", "often" if i % 4 else "rare") for i in range(20)]
    ordered = balanced_order(rows, seed=0)
    assert {e.target for e in ordered[:2]} == {"often", "rare"}
    assert sorted(e.id for e in ordered) == sorted(e.id for e in rows)
    assert ordered == balanced_order(list(reversed(rows)), seed=0)
    assert ordered != balanced_order(rows, seed=1)


def test_estimate_counts_a_common_beginning_once() -> None:
    prompt = Prompt(instruction="one two three four five six seven eight")
    model = Model(FakeBackend(), Adaptation(prompt=prompt, decoding=Decoding(labels=("a", "b"))))
    rows = [Example(str(i), f"input number {i}", "a") for i in range(10)]
    estimate = estimate_tokens(model, rows)
    assert estimate.without_sharing - estimate.with_sharing >= 9 * 8
    real = sum(a.usage.computed_tokens for a in model.answer(rows))
    assert real <= estimate.without_sharing
    assert estimate_tokens(model, []) == TokenEstimate(0, 0)


def test_a_budget_learns_what_a_backend_shares() -> None:
    cost = TokenEstimate(with_sharing=100, without_sharing=1000)
    token_budget = TokenBudget(tokens=1500)
    assert token_budget.cost_of(cost) == 1000
    token_budget.spend(Usage(computed_tokens=100))
    token_budget.learn_from(cost, 100)
    assert token_budget.cost_of(cost) == 100
    assert token_budget.affords(TokenEstimate(1400, 5000))
    assert not token_budget.affords(TokenEstimate(1401, 5000))
    assert not token_budget.affords(TokenEstimate(1000, 1000), reserve=500)
    token_budget.learn_from(cost, 1500)  # worse than anything counted: later estimates grow
    assert token_budget.cost_of(cost) == 1500


def test_a_budget_charges_a_backend_that_does_not_say_what_it_computed() -> None:
    token_budget = TokenBudget(tokens=100)
    assert token_budget.spend(Usage(prompt_tokens=30, generated_tokens=5)) == 35
    assert token_budget.left == 65


def test_meter_units() -> None:
    model = Model(FakeBackend())
    assert TokenBudget.of(Budget(tokens=5, minutes=3), model).tokens == 5
    assert TokenBudget.of(Budget(minutes=3), model).seconds == 180
    assert TokenBudget.of(Budget(), model).left == 40


@pytest.mark.parametrize(("candidates", "examples"), [(1, 100), (2, 100), (16, 100), (16, 10)])
def test_schedules_halve(candidates: int, examples: int) -> None:
    schedule = HalvingSchedule.of(candidates, examples, survivors=2)
    assert schedule.sizes[-1] == examples
    assert schedule.counts[0] == candidates
    assert all(a < b for a, b in zip(schedule.sizes, schedule.sizes[1:], strict=False))
    assert all(b >= min(2, a) for a, b in zip(schedule.counts, schedule.counts[1:], strict=False))
    assert schedule.answers <= candidates * examples
    if candidates == 16 and examples == 100:
        assert schedule == HalvingSchedule((16, 6, 2), (25, 50, 100))
        assert schedule.answers == 16 * 25 + 6 * 25 + 2 * 50


def candidate(name: str, points: list[float], *, tokens: int) -> Candidate:
    made = Candidate(name, Model(FakeBackend()), {})
    made.answers = [None] * len(points)  # type: ignore[list-item]
    made.scores = {"none": points}
    made.tokens = tokens * len(points)
    return made


def test_choice_prefers_the_cheaper_within_one_standard_error() -> None:
    dear = candidate("dear", [1.0] * 62 + [0.0] * 38, tokens=400)
    cheap = candidate("cheap", [0.0] * 20 + [1.0] * 60 + [0.0] * 20, tokens=50)
    assert choose([dear, cheap]).candidate is cheap
    assert "best dev score was 0.620 (dear" in choose([dear, cheap]).notes[1]
    poor = candidate("poor", [1.0] * 40 + [0.0] * 60, tokens=50)
    assert choose([dear, poor]).candidate is dear
    assert len(choose([dear, poor]).notes) == 1


def test_choice_trusts_log_probabilities_where_scores_cannot_tell() -> None:
    dear = candidate("dear", [1.0] * 62 + [0.0] * 38, tokens=400)
    cheap = candidate("cheap", [0.0] * 20 + [1.0] * 60 + [0.0] * 20, tokens=50)
    rng = random.Random(0)
    dear.target_logprobs = {"none": [-0.5 + rng.random() / 5 for _ in range(100)]}
    cheap.target_logprobs = {"none": [-1.5 + rng.random() / 5 for _ in range(100)]}
    assert choose([dear, cheap]).candidate is dear


def test_choice_looks_only_at_those_that_saw_everything() -> None:
    lucky = candidate("lucky", [1.0] * 16, tokens=10)
    steady = candidate("steady", [1.0, 0.0] * 50, tokens=100)
    assert choose([lucky, steady]).candidate is steady
    assert close_to_best([steady, lucky], errors=2.0) == [steady]


def test_an_evaluator_does_not_ask_twice() -> None:
    task = make_task()
    asked: list[int] = []

    class Counting(FakeBackend):
        def score(self, requests, adaptation):  # type: ignore[no-untyped-def]
            asked.append(len(requests))
            return super().score(requests, adaptation)

    model = Model(Counting(), Adaptation(prompt=task.base_prompt(), decoding=task.base_decoding()))
    evaluator = CandidateEvaluator(
        model, task, token_budget=TokenBudget(evaluations=9), calibrations=("none", "batch"), seed=0
    )
    one = evaluator.add("one", task.base_prompt())
    assert evaluator.add("again", task.base_prompt()) is one
    assert evaluator.evaluate(one, 4)
    assert evaluator.evaluate(one, 12)
    assert evaluator.evaluate(one, 12)
    assert asked == [4, 8]
    assert len(one.scores["batch"]) == 12
    bias = dict(evaluator.label_bias(one, "batch"))
    assert bias.keys() == set(task.labels)
    assert evaluator.label_bias(one, "none") == ()


def test_macro_f1_weighs_classes_alike() -> None:
    from luthier.content import Response
    from luthier.techniques.search.evaluator import score_answers

    task = make_task()
    task = replace(task, spec=replace(task.spec, scorer="macro-f1"))
    rows = [Example(str(i), "x", "a" if i < 9 else "b") for i in range(10)]
    always_a = [Response("a", "a", True)] * 10
    assert np.mean(score_answers(task, rows, always_a)) == pytest.approx(0.5)


def test_form_of_a_hand_written_prompt_is_kept() -> None:
    from luthier.techniques.search.starting_prompt import starting_prompt

    task = make_task()
    form = PromptFormat(input_name="Say", name_separator=" -> ")
    model = Model(FakeBackend(), Adaptation(prompt=Prompt(instruction="Mine.", format=form)))
    prompt = starting_prompt(model, task)
    assert prompt.format == form
    assert prompt.labels == task.labels
