"""95 % intervals.

One proportion of independent examples: Wilson (1927), through `statsmodels`. Anything else: a
bootstrap over clusters (groups where the data has them, examples otherwise), bias-corrected and
accelerated (BCa; Efron 1987, section 6). Several seeds: two crossed variances, see `over_seeds`.

The bootstrap is not `scipy.stats.bootstrap`, because on sums the same arithmetic is thirty times
faster, and it handles clusters. `tests/test_scoring_intervals.py` compares the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from luthier.scoring.metrics import Floats, Statistics
from luthier.scoring.statistics.components import (
    FitScores,
    SeedVariance,
    seed_share,
    uncertainty,
)
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


def over_seeds(fits: FitScores, *, seeds: SeedVariance | None, bounds: Bounds) -> Interval:
    """The interval of the mean of a metric over S fits of one technique, each with its seed.

    It covers other examples and other seeds; `seeds` is the seed variance, as a rule pooled over
    the techniques of a comparison. Where the metric has a range, the interval is Wilson's for as
    many independent examples as would give the same variance, with Student's t in place of the
    normal quantile (Korn and Graubard 1998, Survey Methodology 24, for proportions; a score
    between 0 and 1 varies less than a proportion of the same mean). So it is right close to the
    ends of the range too, where the bootstrap is not.
    """
    from scipy.stats import t

    value = fits.value
    found = uncertainty(fits.deviations, groups=fits.groups, share=seed_share(fits), seeds=seeds)
    if fits.groups < 2 or found.variance == 0.0:
        return unvarying(value, fits.groups, bounds=bounds)
    reach = float(t.isf((1.0 - CONFIDENCE) / 2.0, found.freedom))
    if bounds.low is None or bounds.high is None:
        return bounds.around(value, (value - reach * found.error, value + reach * found.error))
    width = bounds.high - bounds.low
    share = min(max((value - bounds.low) / width, 0.0), 1.0)
    if share in (0.0, 1.0):
        return unvarying(value, fits.groups, bounds=bounds)
    examples = share * (1.0 - share) / (found.variance / width**2)
    low, high = _score_interval(share, examples, reach)
    return bounds.around(value, (bounds.low + width * low, bounds.low + width * high))


def _score_interval(share: float, examples: float, reach: float) -> tuple[float, float]:
    """Wilson's interval for a share of a number of examples that need not be whole."""
    squared = reach**2 / examples
    middle = (share + squared / 2.0) / (1.0 + squared)
    half = (
        reach
        / (1.0 + squared)
        * np.sqrt(share * (1.0 - share) / examples + squared / (4.0 * examples))
    )
    return float(middle - half), float(middle + half)


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
