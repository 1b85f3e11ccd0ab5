"""Intervals: published values, agreement with scipy, and the coverage they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.content import Usage
from luthier.errors import UserError
from luthier.records import EvalResult, SampleScore, Score
from luthier.scoring import aggregate_samples, aggregate_seeds, parse_rate, resolve_scorer
from luthier.scoring.metrics import Statistics, mean
from luthier.scoring.statistics.components import FitScores
from luthier.scoring.statistics.intervals import Bounds, over_examples, over_seeds, wilson
from luthier.scoring.statistics.resampling import (
    bootstrap_sums,
    clusters_of,
    sum_by_cluster,
)


def rows(points, groups=None, parseable=True) -> tuple[SampleScore, ...]:  # type: ignore[no-untyped-def]
    return tuple(
        SampleScore(str(i), "in", "a", "a", "a" if p else "b", parseable, float(p), g)
        for i, (p, g) in enumerate(zip(points, groups or [None] * len(points), strict=True))
    )


def result(points, metric="accuracy", groups=None) -> EvalResult:  # type: ignore[no-untyped-def]
    score = Score(metric, float(np.mean(points)))
    return EvalResult(score, Score("parse-rate", None), (), rows(points, groups), Usage(), 0.0)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Newcombe 1998, Statistics in Medicine 17, table I, method 3.
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_equals_the_published_values(
    successes: int, trials: int, low: float, high: float
) -> None:
    assert wilson(successes, trials) == pytest.approx((low, high), abs=5e-5)
    points = [1] * successes + [0] * (trials - successes)
    score = aggregate_samples(rows(points), resolve_scorer("accuracy"))
    assert (score.low, score.high) == pytest.approx((low, high), abs=5e-5)


def test_bca_equals_scipy() -> None:
    from scipy.stats import bootstrap, norm, t

    points = np.random.default_rng(1).beta(0.6, 2.0, size=60)
    low, high = over_examples(mean(rows(points)), np.arange(60), bounds=Bounds())
    reach = np.sqrt(60 / 59) * t.ppf(0.975, 59)
    expected = bootstrap(
        (points,),
        np.mean,
        confidence_level=1 - 2 * norm.cdf(-reach),
        n_resamples=10_000,
        method="BCa",
        rng=np.random.default_rng(2),
    ).confidence_interval
    width = expected.high - expected.low
    assert (low, high) == pytest.approx(tuple(expected), abs=0.03 * width)


@settings(max_examples=60, deadline=None)
@given(
    points=st.lists(st.floats(0, 1), min_size=12, max_size=12),
    groups=st.lists(st.sampled_from(["g1", "g2", "g3", None]), min_size=12, max_size=12),
)
@pytest.mark.parametrize("name", ["accuracy", "macro-f1", "bleu"])
def test_intervals_surround_the_value_and_stay_in_range(
    name: str, points: list[float], groups: list[str | None]
) -> None:
    score = aggregate_samples(rows(points, groups), resolve_scorer(name))
    assert score.value is not None
    assert score.low is not None
    assert score.high is not None
    assert 0.0 <= score.low <= score.value <= score.high <= 1.0 + 1e-12
    seeds = aggregate_seeds([result(points), result(points[::-1]), result([0.5] * 12)], "accuracy")
    assert seeds.low is not None
    assert seeds.high is not None
    assert 0.0 <= seeds.low <= seeds.value <= seeds.high <= 1.0


@settings(max_examples=30, deadline=None)
@given(points=st.lists(st.floats(-50, 50), min_size=12, max_size=12))
def test_an_unbounded_custom_metric_is_not_clipped_to_a_share(points: list[float]) -> None:
    points[0] = 60.0
    scorer = resolve_scorer(lambda prediction, target: 0.0)
    score = aggregate_samples(rows(points), scorer)
    assert score.value == pytest.approx(np.mean(points))
    assert score.low is not None
    assert score.high is not None
    assert min(points) - 1e-4 <= score.low < score.value < score.high <= 60.0 + 1e-4


def test_nothing_that_varies_is_not_certainty() -> None:
    all_right = aggregate_samples(rows([1] * 30, ["a", "b", "c"] * 10), resolve_scorer("macro-f1"))
    assert all_right.value == 1.0
    # Three groups are three observations, however many examples they hold.
    assert all_right.low == pytest.approx(wilson(3, 3)[0])
    alone = aggregate_samples(rows([0.4]), resolve_scorer("token-f1"))
    assert (alone.low, alone.high) == pytest.approx(wilson(0.4, 1))


def test_no_examples_is_unmeasured() -> None:
    assert aggregate_samples((), resolve_scorer("accuracy")) == Score("accuracy", None)
    assert aggregate_seeds([]).value is None


def test_parse_rate_stands_apart_from_the_points() -> None:
    sample_scores = rows([0] * 50) + rows([1] * 50, parseable=False)
    ids = tuple(
        SampleScore(**{**as_dict(j), "example_id": str(i)}) for i, j in enumerate(sample_scores)
    )
    rate = parse_rate([ids])
    assert rate.metric == "parse-rate"
    assert (rate.value, rate.low, rate.high) == pytest.approx((0.5, *wilson(50, 100)))


def as_dict(j: SampleScore) -> dict[str, object]:
    return {name: getattr(j, name) for name in SampleScore.__dataclass_fields__}


def test_groups_widen_the_interval() -> None:
    rng = np.random.default_rng(3)
    of_group = rng.random(25) < 0.5
    points = np.repeat(of_group, 8).astype(float)
    groups = [f"g{i // 8}" for i in range(200)]
    alone = aggregate_samples(rows(points), resolve_scorer("accuracy"))
    grouped = aggregate_samples(rows(points, groups), resolve_scorer("accuracy"))
    assert alone.value == grouped.value
    # Eight copies of each observation: the honest interval is sqrt(8) times as wide.
    ratio = (grouped.high - grouped.low) / (alone.high - alone.low)
    assert ratio == pytest.approx(np.sqrt(8), rel=0.12)


def test_wilson_covers() -> None:
    rng = np.random.default_rng(4)
    for share, trials in ((0.5, 40), (0.9, 60), (0.97, 100)):
        found = [wilson(k, trials) for k in rng.binomial(trials, share, size=400)]
        covered = np.mean([low <= share <= high for low, high in found])
        assert 0.92 <= covered <= 0.99


def test_cluster_bootstrap_covers_where_the_plain_one_does_not() -> None:
    rng = np.random.default_rng(5)
    groups = np.repeat(np.arange(30), 5)
    hits = {"clustered": 0, "plain": 0}
    trials = 150
    for _ in range(trials):
        share = rng.beta(2.0, 2.0, size=30)  # mean 0.5, strong correlation inside a group
        points = (rng.random(150) < share[groups]).astype(float)
        statistics = Statistics(np.c_[points, np.ones(150)], mean(rows([0.0])).combine)
        for name, clusters in (("clustered", groups), ("plain", np.arange(150))):
            low, high = over_examples(statistics, clusters, bounds=Bounds())
            hits[name] += low <= 0.5 <= high
    assert hits["clustered"] / trials >= 0.91
    assert hits["plain"] / trials < 0.90


def test_seed_variance_is_in_the_interval_and_resampling_three_seeds_is_not_enough() -> None:
    rng = np.random.default_rng(6)
    n, trials, hits = 150, 150, {"two levels": 0, "seeds resampled": 0, "seeds ignored": 0}
    combine = mean(rows([0.0])).combine
    for _ in range(trials):
        effects = rng.normal(0.0, 0.08, size=3)
        difficulty = rng.normal(0.0, 0.15, size=n)
        points = 0.6 + effects[:, None] + difficulty + rng.normal(0.0, 0.05, size=(3, n))
        runs = [Statistics(np.c_[p, np.ones(n)], combine) for p in points]
        drawn = np.array([combine(bootstrap_sums(run.values)) for run in runs])
        chosen = rng.integers(0, 3, size=(3, drawn.shape[1]))
        crossed = drawn[chosen, np.arange(drawn.shape[1])].mean(axis=0)
        fits = FitScores.of(runs, np.arange(n))
        ends = {
            "two levels": over_seeds(fits, seeds=fits.seed_variance, bounds=Bounds()),
            "seeds resampled": np.quantile(crossed, (0.025, 0.975)),
            "seeds ignored": np.quantile(drawn.mean(axis=0), (0.025, 0.975)),
        }
        for name, (low, high) in ends.items():
            hits[name] += low <= 0.6 <= high
    # Of 600 such comparisons 0.927 were covered; 150 have a standard error of 0.021.
    assert hits["two levels"] / trials >= 0.87
    assert hits["two levels"] > hits["seeds resampled"] > hits["seeds ignored"]
    assert hits["seeds resampled"] / trials < 0.90
    assert hits["seeds ignored"] / trials < 0.60


def test_three_equal_seeds_are_one_run() -> None:
    points = [1, 0, 1, 1, 0, 1, 1, 1, 0, 1]
    once = aggregate_samples(rows(points), resolve_scorer("accuracy"))
    assert aggregate_seeds([result(points)] * 3) == once


def test_seeds_are_averaged_and_aligned_by_example() -> None:
    a, b = result([1, 0, 0, 0]), result([1, 1, 0, 0])
    shuffled = EvalResult(b.score, b.parse_rate, (), b.sample_scores[::-1], Usage(), 0.0)
    assert aggregate_seeds([a, shuffled]).value == pytest.approx(0.375)
    assert aggregate_seeds([a, shuffled]) == aggregate_seeds([a, b])
    with pytest.raises(UserError, match="different examples"):
        aggregate_seeds([a, result([1, 0, 1])])


def test_another_scorer_judges_again() -> None:
    runs = [result([1, 0, 1, 0]), result([1, 1, 1, 0])]
    assert aggregate_seeds(runs, "exact-match").value == pytest.approx(0.625)
    assert aggregate_seeds(runs, "macro-f1").metric == "macro-f1"
    with pytest.raises(UserError, match="does not score answers, and cannot replace accuracy"):
        aggregate_seeds(runs, "perplexity")


def test_same_input_same_interval() -> None:
    points = np.random.default_rng(7).random(80)
    scores = [aggregate_samples(rows(points), resolve_scorer("token-f1")) for _ in range(2)]
    bootstrap_sums(np.ones((33, 2)))  # other draws in between
    assert scores[0] == scores[1] == aggregate_samples(rows(points), resolve_scorer("token-f1"))


def test_resampling_draws_what_it_says() -> None:
    ones = bootstrap_sums(np.ones((17, 1)))
    assert np.array_equal(ones, np.full((10_000, 1), 17.0))
    one_cluster = bootstrap_sums(np.eye(10)[:, :1])  # how often the first cluster was drawn
    assert one_cluster.mean() == pytest.approx(1.0, abs=0.05)
    assert one_cluster.var() == pytest.approx(0.9, abs=0.06)
    large = bootstrap_sums(np.ones((30_000, 1)), resamples=200)
    assert np.array_equal(large, np.full((200, 1), 30_000.0))


def test_clusters_keep_ungrouped_examples_apart() -> None:
    clusters = clusters_of(rows([1, 1, 1, 1, 1], ["x", None, "x", None, "y"]))
    assert clusters.tolist() == [0, 1, 0, 2, 3]
    sums = sum_by_cluster(np.arange(5.0)[:, None], clusters)
    assert sums[:, 0].tolist() == [2.0, 1.0, 3.0, 4.0]


def test_a_handful_of_groups_is_no_excuse_for_a_narrow_interval() -> None:
    rng = np.random.default_rng(11)
    clusters = np.repeat(np.arange(4), 25)
    combine, hits, bare = mean(rows([0.0])).combine, 0, 0
    for _ in range(150):
        of_group = rng.normal(0.5, 0.1, size=4)
        points = np.clip(of_group[clusters] + rng.normal(0.0, 0.05, size=100), 0.0, 1.0)
        statistics = Statistics(np.c_[points, np.ones(100)], combine)
        low, high = over_examples(statistics, clusters, bounds=Bounds())
        hits += low <= 0.5 <= high
        drawn = combine(bootstrap_sums(sum_by_cluster(statistics.values, clusters)))
        bare += np.quantile(drawn, 0.025) <= 0.5 <= np.quantile(drawn, 0.975)
    assert hits / 150 >= 0.91
    assert bare / 150 < 0.88


@pytest.mark.parametrize("name", ["accuracy", "token-f1"])
def test_two_groups_one_of_them_right(name: str) -> None:
    score = aggregate_samples(rows([0] * 11 + [1], ["g1"] * 11 + ["g2"]), resolve_scorer(name))
    assert (score.low, score.high) == (0.0, 1.0)
