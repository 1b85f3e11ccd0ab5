"""95 % intervals.

One proportion of independent examples: Wilson (1927), through `statsmodels`. Anything else: a
bootstrap over clusters (groups where the data has them, examples otherwise), bias-corrected and
accelerated (BCa; Efron 1987, section 6). Several seeds: a second level, see `over_seeds`.

The bootstrap is not `scipy.stats.bootstrap`, because on sums the same arithmetic is thirty times
faster, and it handles clusters. `tests/test_scoring_intervals.py` compares the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from luthier.scoring.metrics import Floats, Statistics
from luthier.scoring.statistics.resampling import Clusters, bootstrap_sums, sum_by_cluster

CONFIDENCE = 0.95
_FEW_CLUSTERS = 10
Interval = tuple[float | None, float | None]


@dataclass(frozen=True, slots=True)
class Bounds:
    """The range of a metric; None: unbounded on that side."""

    low: float | None = 0.0
    high: float | None = 1.0

    def around(self, value: float, ends: tuple[float, float]) -> Interval:
        """The ends clipped to the range, and never past the value they surround."""
        low, high = min(ends[0], value), max(ends[1], value)
        if self.low is not None:
            low = max(low, min(self.low, value))
        if self.high is not None:
            high = min(high, max(self.high, value))
        return low, high


def wilson(successes: float, trials: int) -> tuple[float, float]:
    """Wilson's score interval for a proportion; (0, 1) when there were no trials."""
    if trials == 0:
        return 0.0, 1.0
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(successes, trials, alpha=1.0 - CONFIDENCE, method="wilson")
    return max(0.0, float(low)), min(1.0, float(high))


def over_examples(statistics: Statistics, clusters: Clusters, *, bounds: Bounds) -> Interval:
    """BCa bootstrap over clusters, for one run.

    Where resampling changes nothing (every example the same, or one cluster) the bootstrap would
    claim certainty. The result is then Wilson's interval for the number of clusters, with the value
    as a share of the range, and (None, None) for an unbounded metric.
    """
    value = statistics.value
    sums = sum_by_cluster(statistics.values, clusters)
    replicates = _finite(statistics.combine(bootstrap_sums(sums)))
    if len(sums) < 2 or spread(replicates) == 0.0:
        return unvarying(value, len(sums), bounds=bounds)
    without_one = left_out([statistics], clusters)
    ends = _ends(replicates, _bca_tails(value, replicates, without_one))
    return bounds.around(value, widened(ends, value, without_one))


def over_seeds(runs: Sequence[Statistics], clusters: Clusters, *, bounds: Bounds) -> Interval:
    """The interval of the mean of a metric over S runs of one technique, each with its seed.

    It has two levels. The first draws clusters with replacement, the same for every run, because
    all seeds answer the same examples. The second is the draw of the seeds; see
    `seeded_replicates`.
    """
    value = float(np.mean([run.value for run in runs]))
    replicates = seeded_replicates(runs, clusters, seed=0)
    count = int(clusters.max()) + 1
    if count < 2 or spread(replicates) == 0.0:
        return unvarying(value, count, bounds=bounds)
    ends = percentile_ends(replicates, count)
    return bounds.around(value, widened(ends, value, left_out(runs, clusters)))


def seeded_replicates(runs: Sequence[Statistics], clusters: Clusters, *, seed: int) -> Floats:
    """(B,): replicates of the mean over S seeds, with the clusters of `bootstrap_sums`.

    `seed` draws the seed effects.

    Drawing S = 3 values with replacement, as is done for examples, is far too narrow. Instead each
    replicate adds a normal seed effect of variance V / S, where V is uncertain itself: with s2 the
    variance between the S values,

        V = max(0, s2 (S - 1) / chi2(S - 1) - e)

    a draw from the generalized pivotal quantity of a variance component (Weerahandi 1993,
    Journal of the American Statistical Association 88). e is the part of s2 that comes from having
    few examples, which the first level includes already; it is computed from the replicates. With
    e = 0 the added term is s / sqrt(S) times Student's t.
    """
    single = [sum_by_cluster(run.values, clusters) for run in runs]
    drawn = bootstrap_sums(np.concatenate(single, axis=1))
    over = runs[0].combine(drawn.reshape(len(drawn), len(runs), -1))  # (B, S)
    replicates: Floats = over.mean(axis=1)
    between = seed_variance(runs)
    if between == 0.0:
        return replicates
    freedom = len(runs) - 1
    finite = over[np.isfinite(replicates)]
    explained = float(np.var(finite - finite.mean(axis=1, keepdims=True), axis=0).sum()) / freedom
    rng = np.random.default_rng([seed, 2])
    chi2 = rng.chisquare(freedom, size=len(replicates))
    variance = np.maximum(0.0, between * freedom / chi2 - explained)
    effect: Floats = rng.standard_normal(len(replicates)) * np.sqrt(variance / len(runs))
    return replicates + effect


def seed_variance(runs: Sequence[Statistics]) -> float:
    """Variance of the metric between seeds (S - 1 in the denominator); 0 for one seed."""
    values = [run.value for run in runs]
    return float(np.var(values, ddof=1)) if len(values) > 1 else 0.0


def percentile_ends(replicates: Floats, clusters: int) -> tuple[float, float]:
    """The ends of the middle 95 % of the replicates; wider with few clusters (`_reach`)."""
    from scipy.special import ndtr

    reach = _reach(clusters)
    return _ends(_finite(replicates), (float(ndtr(-reach)), float(ndtr(reach))))


def left_out(runs: Sequence[Statistics], clusters: Clusters) -> Floats:
    """(G,): the mean over runs of the metric without each cluster in turn (jackknife)."""
    sums = [sum_by_cluster(run.values, clusters) for run in runs]
    values: Floats = np.mean([runs[0].combine(s.sum(axis=0) - s) for s in sums], axis=0)
    return values


def widened(ends: tuple[float, float], value: float, without_one: Floats) -> tuple[float, float]:
    """The ends, widened below ten clusters to at least the jackknife's t interval.

    A bootstrap of G values cannot leave their range: with three groups it would miss the true value
    a quarter of the time, whatever its tails.
    """
    count = len(without_one)
    if count >= _FEW_CLUSTERS or not np.all(np.isfinite(without_one)):
        return ends
    from scipy.stats import t

    error = np.sqrt((count - 1) * np.var(without_one))
    reach = float(t.ppf((1.0 + CONFIDENCE) / 2.0, count - 1) * error)
    return min(ends[0], value - reach), max(ends[1], value + reach)


def unvarying(value: float, clusters: int, *, bounds: Bounds) -> Interval:
    """Wilson's interval for the value as a share of the metric's range."""
    if bounds.low is None or bounds.high is None:
        return None, None
    width = bounds.high - bounds.low
    share = min(max((value - bounds.low) / width, 0.0), 1.0)
    low, high = wilson(share * clusters, clusters)
    return bounds.around(value, (bounds.low + width * low, bounds.low + width * high))


def _reach(clusters: int) -> float:
    """The standard normal deviations on each side: 1.96, more for few clusters.

    A bootstrap of G draws is too narrow by sqrt((G - 1) / G) and ignores the t distribution; the
    expanded tail corrects both (Hesterberg 2015, doi:10.1080/00031305.2015.1089789).
    """
    from scipy.stats import t

    if clusters < 2:
        return float("inf")
    half = (1.0 + CONFIDENCE) / 2.0
    return float(np.sqrt(clusters / (clusters - 1)) * t.ppf(half, clusters - 1))


def _bca_tails(value: float, replicates: Floats, without_one: Floats) -> tuple[float, float]:
    """The quantiles of the ends: bias from the replicates, acceleration from the jackknife (G,)."""
    from scipy.special import ndtr, ndtri

    reach = _reach(len(without_one))
    plain = float(ndtr(-reach)), float(ndtr(reach))
    below = (np.sum(replicates < value) + np.sum(replicates <= value)) / (2.0 * len(replicates))
    moved = np.mean(without_one) - without_one
    scale = float(np.sum(moved**2)) ** 1.5
    bias = float(ndtri(below))
    if not np.isfinite(bias) or not np.isfinite(scale) or scale == 0.0:
        return plain
    acceleration = float(np.sum(moved**3)) / (6.0 * scale)
    ends = []
    for shift in (bias - reach, bias + reach):
        if acceleration * shift >= 1.0:
            return plain
        ends.append(float(ndtr(bias + shift / (1.0 - acceleration * shift))))
    return ends[0], ends[1]


def _ends(replicates: Floats, tails: tuple[float, float]) -> tuple[float, float]:
    low, high = np.quantile(replicates, tails)
    return float(low), float(high)


def _finite(replicates: Floats) -> Floats:
    return replicates[np.isfinite(replicates)]


def spread(replicates: Floats) -> float:
    """The range of the replicates; 0 where they differ by the rounding of single precision only."""
    if len(replicates) == 0:
        return 0.0
    width = float(np.ptp(replicates))
    return width if width > 1e-6 * max(1.0, float(np.max(np.abs(replicates)))) else 0.0
