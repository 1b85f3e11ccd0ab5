"""Paired tests: agreement with statsmodels and scipy, power, and honesty about ties and seeds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.errors import UserError
from luthier.scoring import paired_tests
from luthier.scoring.metrics import mean
from luthier.scoring.statistics.paired import holm, mcnemar_p, permutation_p
from tests.test_scoring_intervals import result, rows


def pair(a, b, **more):  # type: ignore[no-untyped-def]
    (test,) = paired_tests({"a": [result(a, **more)], "b": [result(b, **more)]})
    return test


def test_mcnemar_by_hand() -> None:
    # 1 against 8 discordant pairs: 2 * (1 + 9) / 2^9.
    a = np.array([1] * 8 + [0] + [1] * 30 + [0] * 11, dtype=float)
    b = np.array([0] * 8 + [1] + [1] * 30 + [0] * 11, dtype=float)
    assert mcnemar_p(a, b) == pytest.approx(20 / 512)
    test = pair(a, b)
    assert test.test == "McNemar, exact"
    assert test.p_value == test.p_adjusted == pytest.approx(20 / 512)
    assert test.difference == pytest.approx(7 / 50)
    assert (test.better, test.tied, test.examples, test.clusters) == ("a", False, 50, 50)
    assert 0.0 < test.low < test.difference < test.high


def test_permutation_equals_scipy() -> None:
    from scipy.stats import permutation_test

    rng = np.random.default_rng(0)
    for size in (10, 60):  # all signs, and random ones
        a, b = rng.random(size), rng.random(size) * 0.9
        expected = permutation_test(
            (a, b),
            lambda x, y, axis: np.mean(x - y, axis=axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=10_000,
            rng=np.random.default_rng(1),
        ).pvalue
        p, complete = permutation_p(mean(rows(a)), mean(rows(b)), np.arange(size))
        assert complete == (size == 10)
        assert p == pytest.approx(expected, abs=1e-12 if complete else 0.02)


def test_permuting_zero_one_points_is_mcnemar() -> None:
    rng = np.random.default_rng(2)
    a, b = (rng.random(40) < 0.7).astype(float), (rng.random(40) < 0.5).astype(float)
    p, _ = permutation_p(mean(rows(a)), mean(rows(b)), np.arange(40))
    assert p == pytest.approx(mcnemar_p(a, b), abs=0.02)


def test_corpus_metrics_are_permuted_by_exchanging_answers() -> None:
    rng = np.random.default_rng(3)
    a, b = (rng.random(80) < 0.8).astype(float), (rng.random(80) < 0.5).astype(float)
    (test,) = paired_tests({"a": [result(a)], "b": [result(b)]}, "macro-f1")
    from luthier.scoring.scorers.class_labels import macro_f1

    left, right = rows(a), rows(b)
    observed = macro_f1(left).value - macro_f1(right).value
    assert test.difference == pytest.approx(observed)
    as_large = 0
    for _ in range(400):
        swap = rng.random(80) < 0.5
        x = [r if s else q for q, r, s in zip(left, right, swap, strict=True)]
        y = [q if s else r for q, r, s in zip(left, right, swap, strict=True)]
        as_large += abs(macro_f1(x).value - macro_f1(y).value) >= observed - 1e-12
    assert test.p_value == pytest.approx((as_large + 1) / 401, abs=0.03)
    assert test.test == "paired permutation"


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@settings(max_examples=10, deadline=None)
@given(p_values=st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_monotone_and_never_helps(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(p <= q <= 1.0 for p, q in zip(p_values, adjusted, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert np.all(np.diff(np.array(adjusted)[order]) >= -1e-12)


@settings(max_examples=50, deadline=None)
@given(
    points=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=12, max_size=12),
    groups=st.lists(st.sampled_from(["g", "h", None]), min_size=12, max_size=12),
)
def test_p_is_a_probability_and_the_test_has_no_side(
    points: list[tuple[float, float]], groups: list[str | None]
) -> None:
    a, b = zip(*points, strict=True)
    test, other = pair(a, b, groups=groups), pair(b, a, groups=groups)
    assert 0.0 < test.p_value <= 1.0
    assert test.p_value <= test.p_adjusted <= 1.0
    assert test.p_value == pytest.approx(other.p_value)
    assert test.difference == pytest.approx(-other.difference)
    assert -1.0 <= test.low <= test.difference <= test.high <= 1.0


def test_identical_techniques_are_tied_and_not_known_to_be_equal() -> None:
    points = [1, 0, 1, 1, 0] * 20
    test = pair(points, points)
    assert test.tied
    assert test.better is None
    assert (test.difference, test.p_value) == (0.0, 1.0)
    assert -0.05 < test.low < 0.0 < test.high < 0.05
    (seeded,) = paired_tests({"a": [result(points)] * 3, "b": [result(points)] * 3})
    assert seeded.tied
    assert seeded.p_value == 1.0


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
    from luthier.scoring import resolve_scorer

    def words(prediction: str, target: str) -> float:
        return 0.0

    words.higher_is_better = False  # type: ignore[attr-defined]
    rng = np.random.default_rng(5)
    a, b = rng.normal(30, 2, 60), rng.normal(40, 2, 60)
    results = {"long": [result(b, metric="words")], "short": [result(a, metric="words")]}
    (test,) = paired_tests(results, resolve_scorer(words))
    assert test.difference > 0
    assert test.better == "short"


def test_groups_are_exchanged_whole() -> None:
    rng = np.random.default_rng(6)
    of_group = rng.normal(0.05, 0.2, size=12)
    a = np.clip(0.5 + np.repeat(of_group, 10), 0, 1)
    b = np.full(120, 0.5)
    groups = [f"g{i // 10}" for i in range(120)]
    alone, grouped = pair(a, b), pair(a, b, groups=groups)
    assert grouped.test == "paired permutation, by group, exact"
    assert (grouped.examples, grouped.clusters) == (120, 12)
    # Ten copies of twelve observations are no hundred and twenty observations.
    assert alone.p_value < grouped.p_value / 5
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)


def test_a_gain_of_three_lucky_seeds_is_a_tie() -> None:
    """Two techniques of the same expected quality, each fitted with three seeds that matter."""
    rng = np.random.default_rng(7)
    n, trials = 120, 80
    wrong = {"said here": 0, "permutation alone": 0}
    for _ in range(trials):
        easy = rng.random(n)
        runs = {
            name: [
                (easy < np.clip(0.6 + rng.normal(0, 0.06), 0, 1)).astype(float) for _ in range(3)
            ]
            for name in "ab"
        }
        (test,) = paired_tests({k: [result(p) for p in v] for k, v in runs.items()})
        averaged = [mean(rows(np.mean(v, axis=0))) for v in runs.values()]
        p, _ = permutation_p(*averaged, np.arange(n))
        assert test.p_value == pytest.approx(p)
        wrong["said here"] += not test.tied
        wrong["permutation alone"] += p < 0.05
    assert wrong["said here"] / trials <= 0.10
    assert wrong["permutation alone"] / trials > 0.20


def test_a_real_gain_with_three_seeds_is_found() -> None:
    rng = np.random.default_rng(8)
    easy = rng.random(300)
    results = {
        name: [result((easy < share + rng.normal(0, 0.01)).astype(float)) for _ in range(3)]
        for name, share in (("prompt", 0.6), ("lora", 0.75))
    }
    (test,) = paired_tests(results)
    assert test.better == "lora"
    assert test.seeds == (3, 3)
    assert test.high < 0.0


def test_against_one_technique() -> None:
    rng = np.random.default_rng(9)
    results = {name: [result((rng.random(50) < 0.5).astype(float))] for name in "abc"}
    tests = paired_tests(results, against="b")
    assert [(t.first, t.second) for t in tests] == [("a", "b"), ("c", "b")]
    assert len(paired_tests(results)) == 3
    assert paired_tests({"a": results["a"], "none": []}) == ()
    with pytest.raises(UserError, match="No results of 'd'"):
        paired_tests(results, against="d")


def test_different_examples_cannot_be_paired() -> None:
    with pytest.raises(UserError, match="different examples"):
        paired_tests({"a": [result([1, 0, 1])], "b": [result([1, 0])]})


def test_a_whole_comparison() -> None:
    """10 techniques, 3 seeds, 500 examples, means 4 points apart."""
    rng = np.random.default_rng(10)
    results = {
        f"t{k}": [result((rng.random(500) < 0.5 + 0.04 * k).astype(float)) for _ in range(3)]
        for k in range(10)
    }
    tests = paired_tests(results)
    assert len(tests) == 45
    assert next(t for t in tests if (t.first, t.second) == ("t0", "t9")).better == "t9"
    far = [t for t in tests if abs(int(t.first[1]) - int(t.second[1])) >= 7]
    assert not any(t.tied for t in far)
    near = [t for t in tests if abs(int(t.first[1]) - int(t.second[1])) == 1]
    assert sum(t.tied for t in near) >= 8
