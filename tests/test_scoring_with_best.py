"""Comparisons with the best: families, bounds and seeds keep in simulations what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.errors import UserError
from luthier.scoring import (
    aggregate_seeds,
    aggregate_techniques,
    compare_with_best,
    paired_tests,
    resolve_scorer,
)
from luthier.scoring.power import examples_for, power_of, smallest_difference
from luthier.scoring.statistics.with_best import COMMONEST
from tests.test_scoring_intervals import result


def pair(a, b, **more):  # type: ignore[no-untyped-def]
    (test,) = compare_with_best({"a": [result(a, **more)], "b": [result(b, **more)]}).tests
    return test


def drawn(rng, shares, *, n, seeds=1, spread=0.0):  # type: ignore[no-untyped-def]
    """Techniques that answer independently; each fit's true score is drawn about its share."""
    return {
        f"t{k}": [
            result((rng.random(n) < share + spread * rng.standard_normal()).astype(float))
            for _ in range(seeds)
        ]
        for k, share in enumerate(shares)
    }


def test_one_comparison_is_a_paired_t_test() -> None:
    from scipy.stats import ttest_rel

    rng = np.random.default_rng(0)
    a, b = rng.random(60), rng.random(60) * 0.8
    test = pair(a, b)
    expected = ttest_rel(b, a)
    interval = expected.confidence_interval()
    assert (test.first, test.second, test.better) == ("b", "a", None)
    assert test.p_value == pytest.approx(expected.pvalue, rel=0.1)
    assert (test.low, test.high) == pytest.approx((interval.low, interval.high), abs=0.015)


@settings(max_examples=40, deadline=None)
@given(
    points=st.lists(st.tuples(*[st.floats(0, 1)] * 3), min_size=12, max_size=12),
    groups=st.lists(st.sampled_from(["g", "h", "i", None]), min_size=12, max_size=12),
)
def test_an_interval_and_its_p_never_contradict_each_other(
    points: list[tuple[float, float, float]], groups: list[str | None]
) -> None:
    runs = {str(k): [result(p, groups=groups)] for k, p in enumerate(zip(*points, strict=True))}
    found = compare_with_best(runs)
    best = max(float(np.mean(p)) for p in zip(*points, strict=True))
    assert len(found.tests) == 2
    for test in found.tests:
        assert 0.0 < test.p_value <= test.p_adjusted <= 1.0
        assert -1.0 <= test.low <= test.difference <= test.high <= 1.0
        assert test.tied == (test.p_adjusted >= 0.05) == (test.low <= 0.0 <= test.high)
    for name, bound in found.bounds.items():
        assert best - runs[name][0].score.value - 1e-9 <= bound <= 1.0


def test_ties_are_no_proof_of_equality() -> None:
    points = [1, 0, 1, 1, 0] * 20
    test = pair(points, points)
    assert (test.difference, test.p_value, test.tied, test.better) == (0.0, 1.0, True, None)
    assert -0.05 < test.low < 0.0 < test.high < 0.05
    assert pair([1] * 30, [0] * 30).better == "a"
    assert pair([1, 1], [0, 0]).tied


def test_pairing_finds_what_separate_intervals_miss() -> None:
    from statsmodels.stats.proportion import proportions_ztest

    rng = np.random.default_rng(4)
    difficulty = rng.random(300)  # shared by both: most examples are easy or hard for anyone
    a, b = (difficulty < 0.72).astype(float), (difficulty < 0.66).astype(float)
    flips = rng.random(300) < 0.03
    b = np.where(flips, 1 - b, b)
    unpaired = proportions_ztest([a.sum(), b.sum()], [300, 300])[1]
    test = pair(a, b)
    assert unpaired > 0.05
    assert test.p_value < 0.01
    assert test.better == "a"


def test_lower_may_be_better() -> None:
    def words(prediction: str, target: str) -> float:
        return 0.0

    words.higher_is_better = False  # type: ignore[attr-defined]
    rng = np.random.default_rng(5)
    a, b = rng.normal(30, 2, 60), rng.normal(40, 2, 60)
    results = {"long": [result(b, metric="words")], "short": [result(a, metric="words")]}
    found = compare_with_best(results, resolve_scorer(words))
    (test,) = found.tests
    assert (found.best, test.first, test.better) == ("short", "long", "short")
    assert 8.0 < test.low < test.difference < test.high < 12.0
    assert found.bounds["short"] == 0.0
    assert 10.0 < found.bounds["long"] < 12.0


def test_groups_count_and_not_their_examples() -> None:
    rng = np.random.default_rng(6)
    of_group = rng.normal(0.05, 0.2, size=12)
    a = np.clip(0.5 + np.repeat(of_group, 10), 0, 1)
    b = np.full(120, 0.5)
    groups = [f"g{i // 10}" for i in range(120)]
    alone, grouped = pair(a, b), pair(a, b, groups=groups)
    assert (grouped.examples, grouped.clusters) == (120, 12)
    # Ten copies of twelve observations are no hundred and twenty observations.
    assert alone.p_value < grouped.p_value / 5
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)


def test_equal_techniques_are_rarely_told_apart_and_pairs_alone_often() -> None:
    rng = np.random.default_rng(7)
    trials, wrong = 120, {"family": 0, "alone": 0}
    for _ in range(trials):
        tests = compare_with_best(drawn(rng, [0.6] * 6, n=100)).tests
        wrong["family"] += any(not test.tied for test in tests)
        wrong["alone"] += any(test.p_value < 0.05 for test in tests)
    assert wrong["family"] / trials <= 0.09
    assert wrong["alone"] / trials > 0.20


def test_a_gain_of_lucky_seeds_is_a_tie() -> None:
    """Techniques of the same expected quality, each fitted with three seeds that matter."""
    rng = np.random.default_rng(8)
    trials, wrong = 120, {"seeds": 0, "these fits": 0}
    for _ in range(trials):
        runs = drawn(rng, [0.6] * 3, n=300, seeds=3, spread=0.06)
        wrong["seeds"] += any(not test.tied for test in compare_with_best(runs).tests)
        one = {name: of[:1] for name, of in runs.items()}
        wrong["these fits"] += any(not test.tied for test in compare_with_best(one).tests)
    assert wrong["seeds"] / trials <= 0.10
    assert wrong["these fits"] / trials > 0.20


def test_three_seeds_show_more_than_one() -> None:
    rng = np.random.default_rng(9)
    trials, found = 60, {1: 0, 3: 0}
    for _ in range(trials):
        runs = drawn(rng, [0.45, 0.6, 0.6, 0.6], n=200, seeds=3, spread=0.01)
        for seeds in found:
            tests = compare_with_best({k: v[:seeds] for k, v in runs.items()}).tests
            found[seeds] += any(test.first == "t0" and not test.tied for test in tests)
    assert found[3] > found[1]


def test_a_single_fit_counts_the_seed_variance_of_the_others() -> None:
    rng = np.random.default_rng(10)
    runs = drawn(rng, [0.5, 0.6], n=2000, seeds=5, spread=0.05)
    runs["t0"] = runs["t0"][:1]
    wide, narrow = compare_with_best(runs, seeded={"t0"}), compare_with_best(runs)
    widths = [w.tests[0].high - w.tests[0].low for w in (wide, narrow)]
    assert widths[0] > 1.5 * widths[1]


def test_bounds_hold_for_the_truly_best_whichever_looks_best() -> None:
    rng = np.random.default_rng(11)
    truth = [0.50, 0.58, 0.60, 0.61]
    trials, held, loss = 150, 0, []
    for _ in range(trials):
        bounds = compare_with_best(drawn(rng, truth, n=136)).bounds
        held += all(0.61 - t <= bounds[f"t{k}"] + 1e-12 for k, t in enumerate(truth))
        loss.append(bounds["t0"])
    assert held / trials >= 0.93
    assert float(np.mean(loss)) < 0.33  # and they are of use


def test_the_best_of_several_is_too_good_by_about_what_is_said() -> None:
    rng = np.random.default_rng(12)
    true, said = [], []
    for _ in range(100):
        runs = drawn(rng, [0.6] * 6, n=60)
        true.append(max(of[0].score.value for of in runs.values()) - 0.6)
        said.append(compare_with_best(runs).optimism)
    # "Or more": the bootstrap sees about three quarters of it where all are equal.
    assert 0.6 < np.mean(said) / np.mean(true) < 1.0
    assert compare_with_best(drawn(rng, [0.9, 0.1], n=200)).optimism < 0.005
    assert compare_with_best(drawn(rng, [0.9], n=50)).optimism is None


def test_the_commonest_label_is_in_the_family() -> None:
    points = [1.0] * 70 + [0.0] * 30
    results = {"a": [result(points)]}  # all targets are "a": always answering it is right
    found = compare_with_best(results, commonest=True)
    (test,) = found.tests
    assert (test.first, test.second, test.better) == (COMMONEST, "a", COMMONEST)
    assert test.difference == pytest.approx(0.3)
    assert COMMONEST not in found.bounds


def test_two_seeds_do_not_triple_the_width() -> None:
    rng = np.random.default_rng(13)
    alone, together = [], []
    for _ in range(60):
        runs = drawn(rng, [0.6] * 4, n=150, seeds=2, spread=0.05)
        for scores, widths in (
            (aggregate_techniques(runs).values(), together),
            ([aggregate_seeds(of) for of in runs.values()], alone),
        ):
            widths += [score.high - score.low for score in scores]
    one = aggregate_seeds(drawn(rng, [0.6], n=150)["t0"])
    assert max(alone) > 3 * (one.high - one.low)
    assert np.mean(together) < 2 * (one.high - one.low)


def test_against_one_that_was_named() -> None:
    rng = np.random.default_rng(15)
    runs = drawn(rng, [0.3, 0.5, 0.8], n=200)
    tests = paired_tests(runs, against="t1")
    assert [(t.first, t.second, t.better) for t in tests] == [
        ("t0", "t1", "t1"),
        ("t2", "t1", "t2"),
    ]
    wrong = 0
    for _ in range(150):
        tests = paired_tests(drawn(rng, [0.6] * 5, n=100), against="t0")
        wrong += any(not test.tied for test in tests)
    assert wrong / 150 <= 0.09
    with pytest.raises(UserError, match="No results of 'x'"):
        paired_tests(runs, against="x")


def test_nothing_to_compare() -> None:
    one = {"a": [result([1, 0, 1])], "none": []}
    found = compare_with_best(one)
    assert (found.best, found.tests, found.bounds) == ("a", (), {"a": 0.0})
    assert compare_with_best({}).best is None
    with pytest.raises(UserError, match="different examples"):
        compare_with_best({"a": [result([1, 0, 1])], "b": [result([1, 0])]})


def test_what_a_test_split_can_show() -> None:
    assert smallest_difference(136, techniques=2) == pytest.approx(0.15, abs=0.005)
    assert smallest_difference(1000, techniques=2) == pytest.approx(0.055, abs=0.002)
    assert smallest_difference(136, techniques=6) > 0.18
    assert examples_for(0.03) == 3500
    power = power_of(136, techniques=6)
    assert power is not None
    assert power.pair < power.family
    assert power_of(0, techniques=2) is None


def test_the_smallest_difference_is_found_in_four_of_five_comparisons() -> None:
    rng = np.random.default_rng(14)
    n, trials, found = 136, 300, 0
    difference = smallest_difference(n, techniques=2)
    for _ in range(trials):
        draw = rng.random(n)  # two disagree on 40 % of the examples
        only_a, only_b = (0.4 + difference) / 2, (0.4 - difference) / 2
        a = draw < only_a
        b = (draw >= only_a) & (draw < only_a + only_b)
        both = draw > 0.7
        found += not pair((a | both).astype(float), (b | both).astype(float)).tied
    assert found / trials == pytest.approx(0.8, abs=0.07)
