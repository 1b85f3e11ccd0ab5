"""The verdict and the advice, on results made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from luthier.compare.comparison import CurvePoint, OffTask, Run, TechniqueResult
from luthier.compare.costs import Cost, Price, PriceBook
from luthier.compare.subject import TaskFacts
from luthier.compare.verdict import Evidence, decide
from luthier.compare.verdict.evidence import best_of
from luthier.records import PairedTest, Score
from luthier.scoring.statistics.with_best import COMMONEST

TASK = TaskFacts("t", "classify", "f", "", ("a", "b"), "accuracy", 100, 50, 200, chance=0.5)
LOCAL = Price(machine_hour=1.0)


def result(
    name: str, value: float | None, *, family: str = "prompt", fit: float = 0, request: float = 100,
    **fields: Any,
) -> TechniqueResult:  # fmt: skip
    score = Score("accuracy", value, None if value is None else value - 0.04,
                  None if value is None else value + 0.04)  # fmt: skip
    made = TechniqueResult(
        technique=name,
        slug=name,
        family=family,
        trained=family != "prompt",
        status="finished" if value is not None else "failed",
        score=score,
        parse_rate=Score("parse-rate", 1.0),
        cost=Cost(fit_tokens=fit, prompt_tokens=request, shared_prompt_tokens=0.0),
    )
    return replace(made, **fields)


def evidence(
    results: Sequence[TechniqueResult], tied: Sequence[str] = (), **fields: Any
) -> Evidence:
    """Each result is told apart from the best, except those in `tied`."""
    scored = [r for r in results if r.score.value is not None and r.part_of is None]
    best = best_of(scored) if scored else None
    tests = tuple(
        compared(r.technique, best, r.score.value or 0.0, p=0.4 if r.technique in tied else 0.001)
        for r in scored
        if best is not None and r is not best
    )
    task = fields.get("task", TASK)
    if best is not None and task.chance is not None:
        beaten = (best.score.low or 0.0) > task.chance
        tests += (compared(COMMONEST, best, task.chance, p=0.001 if beaten else 0.4),)
    book = fields.pop("book", PriceBook(requests=1000))
    made = Evidence(TASK, tuple(results), tests, (), book, LOCAL)
    return replace(made, **fields)


def compared(name: str, best: TechniqueResult, value: float, *, p: float) -> PairedTest:
    difference, tied = value - (best.score.value or 0.0), p >= 0.05
    better = None if tied else best.technique
    return PairedTest(
        name, best.technique, difference, None, None, p, p, tied, "made up", 200, better
    )


def test_the_best_is_picked_where_nothing_is_tied_with_it() -> None:
    verdict = decide(
        evidence(
            [
                result("zero", 0.6),
                result("few", 0.7),
                result("lora", 0.9, family="adapter", fit=9e9),
            ]
        )
    )
    assert (verdict.pick, verdict.best, verdict.tied_with) == ("lora", "lora", ())
    assert "best score: accuracy 0.900" in verdict.because
    assert "significantly better than the next, few" in verdict.because
    assert "and than every other" in verdict.because


def test_the_cheapest_within_the_tolerance_is_picked_whatever_the_tests_say() -> None:
    few, lora = result("few", 0.88, request=500), result("lora", 0.9, family="adapter", fit=10**6)
    zero = result("zero", 0.5, request=10)
    for tied in ([], ["few"], ["few", "zero"]):
        verdict = decide(evidence([few, lora, zero], tied))
        assert (verdict.pick, verdict.best) == ("few", "lora")  # 5e5 against 1.1e6 tokens
        assert verdict.tied_with == ("lora", *(name for name in tied if name != "few"))
        assert "2 points from the best, lora" in verdict.because
        assert "within the tolerance of 3 points" in verdict.because
        assert "0.5 million tokens of compute, against 1.1 for lora" in verdict.because
        assert "take lora" in verdict.because


def test_what_cannot_be_told_from_the_best_and_is_far_below_it_is_not_picked() -> None:
    cheap, dear = result("cheap", 0.86, request=10), result("dear", 0.9, request=500)
    verdict = decide(evidence([cheap, dear], ["cheap"]))
    assert (verdict.pick, verdict.tied_with) == ("dear", ("cheap",))
    assert decide(evidence([cheap, dear], ["cheap"], tolerance=4.0)).pick == "cheap"
    assert decide(evidence([cheap, dear], ["cheap"], tolerance=3.9)).pick == "dear"


def test_no_tolerance_is_the_best_alone() -> None:
    cheap, dear = result("cheap", 0.899, request=10), result("dear", 0.9, request=500)
    assert decide(evidence([cheap, dear], tolerance=0.0)).pick == "dear"
    assert decide(evidence([cheap, dear])).tolerance == 3.0


def test_points_of_an_unbounded_metric_are_per_cent_of_the_best() -> None:
    def loss(name: str, value: float, request: float) -> TechniqueResult:
        score = Score("perplexity", value, value - 1, value + 1, higher_is_better=False)
        return replace(result(name, 0.5, request=request), score=score)

    task = replace(TASK, chance=None, metric="perplexity")
    rivals = [loss("dear", 20.0, 500), loss("near", 20.5, 100), loss("far", 20.7, 10)]
    assert decide(evidence(rivals, task=task)).pick == "near"


def test_the_bound_and_the_optimism_are_said_and_kept() -> None:
    few = result("few", 0.88, bound=0.064)
    lora = result("lora", 0.9, family="adapter", fit=10**9, bound=0.02)
    verdict = decide(evidence([few, lora], ["few"], optimism=0.017))
    assert (verdict.pick, verdict.bound, verdict.optimism) == ("few", 0.064, 0.017)
    assert "at most 6.4 points against the best of these" in verdict.because
    assert "that of lora should be lower by 1.7 points" in verdict.because
    plain = decide(evidence([few, lora], optimism=0.001)).because
    assert "flatters" not in plain


def test_one_seed_speaks_of_these_fits() -> None:
    def fitted(count: int) -> TechniqueResult:
        score = Score("accuracy", 0.9)
        runs = tuple(Run(seed, "finished", score, Score("p", 1.0)) for seed in range(count))
        return result("lora", 0.9, family="adapter", runs=runs, seeded=True)

    zero = replace(result("zero", 0.7), runs=fitted(1).runs)
    assert "speaks of these fits, not of the techniques" in decide(evidence([fitted(1)])).because
    words = decide(evidence([fitted(1), zero])).because
    assert "may change the score of lora, and" in words
    assert "these fits" not in decide(evidence([fitted(3), zero])).because


def test_how_many_requests_count_is_the_price_books_say() -> None:
    few, lora = result("few", 0.88, request=500), result("lora", 0.9, family="adapter", fit=4e6)
    few_requests = evidence([few, lora], book=PriceBook(requests=9000))
    assert decide(few_requests).pick == "few"
    many_requests = evidence([few, lora], book=PriceBook(requests=11000))
    assert decide(many_requests).pick == "lora"


def test_break_even_against_the_best_prompt_with_and_without_a_cache() -> None:
    prompt = result("few", 0.7, request=500)
    prompt = replace(prompt, cost=replace(prompt.cost, shared_prompt_tokens=450.0))
    results = [
        result("zero", 0.5),
        prompt,
        result("lora", 0.9, family="adapter", fit=40_000, request=40),
    ]
    verdict = decide(evidence(results))
    assert verdict.break_even_requests == 87  # 40,000 / (500 - 40)
    assert verdict.break_even_requests_cached == 4000  # 40,000 / (50 - 40)
    assert decide(evidence(results[:2])).break_even_requests is None


def test_money_decides_where_tokens_are_billed() -> None:
    cheap = result("cheap", 0.8, request=10)
    cheap = replace(cheap, cost=replace(cheap.cost, generated_tokens=100.0))
    long = result("long", 0.8, request=200)
    ties = ["long"]
    billed = Price(input=1e-6, output=1e-5)
    assert decide(evidence([cheap, long], ties)).pick == "cheap"
    verdict = decide(evidence([cheap, long], ties, price=billed))
    assert verdict.pick == "long"
    assert "USD" in verdict.because


def test_of_two_that_cost_the_same_the_better_is_picked() -> None:
    results = [
        result("a", 0.80, request=100),
        result("b", 0.81, request=103),
        result("c", 0.82, request=120),
    ]
    ties = ["a", "b"]
    verdict = decide(evidence(results, ties))
    assert verdict.pick == "b"
    assert "no more than 5 % above the cheapest" in verdict.because


def test_what_does_not_beat_chance_is_not_picked() -> None:
    warning = "clearly better than always answering the commonest label (0.500; p = 0.4)"
    verdict = decide(evidence([result("a", 0.53), result("b", 0.4)]))
    assert warning in verdict.because
    assert (verdict.pick, verdict.best) == (None, "a")
    verdict = decide(evidence([result("a", 0.6), result("b", 0.4)]))
    assert "commonest" not in verdict.because
    assert verdict.pick == "a"


def test_where_nothing_is_right_there_is_no_pick() -> None:
    unknown = replace(TASK, chance=None, metric="exact-match")
    verdict = decide(evidence([result("a", 0.0), result("b", 0.0)], task=unknown))
    assert (verdict.pick, verdict.best) == (None, "a")
    assert "exact-match is 0 for each of them" in verdict.because


def test_lower_is_better_where_the_metric_says_so() -> None:
    def perplexity(name: str, value: float) -> TechniqueResult:
        made = result(name, value)
        return replace(made, score=replace(made.score, higher_is_better=False))

    verdict = decide(evidence([perplexity("a", 9.0), perplexity("b", 4.0)]))
    assert verdict.pick == "b"


def test_what_did_not_finish_is_not_picked_where_something_did() -> None:
    cheap = replace(result("cheap", 0.79, request=10), status="stopped")
    ties = ["cheap"]
    assert decide(evidence([cheap, result("dear", 0.8, request=500)], ties)).pick == "dear"
    assert decide(evidence([cheap])).pick == "cheap"


def test_an_intermediate_of_a_recipe_is_never_picked() -> None:
    step = result("few (step 1 of few -> lora)", 0.95, part_of="few -> lora")
    assert decide(evidence([result("zero", 0.7), step])).pick == "zero"


def test_nothing_finished() -> None:
    verdict = decide(evidence([result("lora", None, reason="out of memory")]))
    assert verdict.pick is None
    assert "lora: failed, out of memory" in verdict.because
    assert any("failed" in s for s in verdict.next_steps)


def test_one_technique_alone() -> None:
    assert "only technique that finished" in decide(evidence([result("zero", 0.6)])).because


def said(made: Evidence, word: str) -> bool:
    return any(word in sentence for sentence in decide(made).next_steps)


def test_advice_low_parse_rate_is_about_the_pick_and_the_best_prompt() -> None:
    low = Score("parse-rate", 0.3)
    assert said(evidence([result("zero", 0.6, parse_rate=low)]), "30 %")
    better = [result("zero", 0.5, parse_rate=low), result("few", 0.8)]
    assert not said(evidence(better), "30 %")


def test_advice_prompts_at_chance() -> None:
    lora = result("lora", 0.9, family="adapter")
    assert said(evidence([result("zero", 0.52), lora]), "too weak to be prompted")
    assert not said(evidence([result("zero", 0.6), lora]), "too weak to be prompted")
    unknown = replace(TASK, chance=None)
    assert not said(evidence([result("zero", 0.52), lora], task=unknown), "too weak")


@pytest.mark.parametrize(("half", "rising"), [(0.8, True), (0.899, False), (0.95, False)])
def test_advice_rising_curve(half: float, rising: bool) -> None:
    run = Run(0, "finished", Score("accuracy", 0.9), Score("parse-rate", 1.0))
    lora = result("lora", 0.9, family="adapter", runs=(run,))
    curve = (CurvePoint("lora", 0.5, 50, 0, Score("accuracy", half)),)
    assert said(evidence([result("zero", 0.6), lora], curve=curve), "still gaining") is rising
    assert not said(evidence([result("zero", 0.6), lora], curve=curve), "--curve")
    assert said(evidence([result("zero", 0.6), lora]), "--curve")


def test_advice_ceiling_seeds_forgetting_and_test_size() -> None:
    top = [result("a", 0.98), result("b", 0.99)]
    assert said(evidence(top, ["a"]), "highest possible")
    assert not said(evidence([*top, result("c", 0.5)]), "highest possible")
    runs = tuple(
        Run(i, "finished", Score("accuracy", v), Score("p", 1.0)) for i, v in enumerate((0.5, 0.9))
    )
    spread = result("soft", 0.7, family="soft prompt", runs=runs)
    assert said(evidence([spread]), "depends on its seed")
    full = result("full", 0.9, family="weights", off_task=OffTask(3.0, 3.5, 100))
    assert said(evidence([full]), "rose by 0.50 nats")
    assert said(evidence([full]), "or take an adapter")
    adapter = result("lora", 0.9, family="adapter", off_task=OffTask(3.0, 3.5, 100))
    assert said(evidence([adapter]), "rose by 0.50 nats")
    assert not said(evidence([adapter]), "or take an adapter")
    mild = replace(full, off_task=OffTask(3.0, 3.1, 100))
    assert not said(evidence([mild]), "nats")
    wide = replace(full, score=Score("accuracy", 0.9, 0.7, 0.98))
    assert said(evidence([wide]), "200 test examples")


def test_advice_leaks_only_where_they_were_left() -> None:
    left = replace(TASK, leaks={"exact": 2, "near": 1, "dropped": False})
    assert said(evidence([result("zero", 0.6)], task=left), "3 examples")
    assert not said(evidence([result("zero", 0.6)], task=replace(left, leaks={"exact": 2})), "3 ")
