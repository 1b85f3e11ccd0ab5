"""Which of two techniques is better on the same examples.

A paired test answers what overlapping intervals cannot: both techniques meet the same hard
examples, and this part of the noise cancels.

- Two runs of scores of 0 and 1 on independent examples: McNemar's exact test (`statsmodels`).
- Everything else: a permutation test. Under the null hypothesis the two techniques may be exchanged
  for any example, or for any group as a whole where the data has groups; with several seeds the
  scores of an example are first averaged over its seeds. With means this is a sign-flip test.

The p values are corrected after Holm for all tests made (`statsmodels`).

Where a technique has several seeds that differ, the permutation test is only about *these* fits. To
say that the technique is better, the gain must also persist with other seeds. Therefore the
interval of the difference is that of `intervals.over_seeds`, and two techniques are tied where the
corrected p is 0.05 or more *or* the interval contains 0. The second condition is not corrected for
the number of tests: with three seeds Student's t has two degrees of freedom, and its corrected tail
would call a gain of thirty points a tie.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np

from luthier.errors import UserError, did_you_mean
from luthier.records import PairedTest
from luthier.scoring.aggregate import (
    ScoredRun,
    ScorerSpec,
    bounds_of,
    is_proportion,
    scored_by,
    statistics_of,
)
from luthier.scoring.metrics import Floats, Statistics
from luthier.scoring.statistics.intervals import (
    Bounds,
    Interval,
    left_out,
    percentile_ends,
    seeded_replicates,
    spread,
    widened,
    wilson,
)
from luthier.scoring.statistics.resampling import (
    Clusters,
    clusters_of,
    every_sign,
    random_signs,
    sum_by_cluster,
)

ALPHA = 0.05


@dataclass(frozen=True, eq=False)
class _Side:
    """The runs of one technique. Costly values are computed once for all its tests, if needed."""

    runs: Sequence[Statistics]
    clusters: Clusters
    place: int = 0

    @cached_property
    def value(self) -> float:
        return float(np.mean([run.value for run in self.runs]))

    @cached_property
    def replicates(self) -> Floats:
        """(B,): bootstrap of the mean over seeds."""
        return seeded_replicates(self.runs, self.clusters, seed=self.place)

    @cached_property
    def totals(self) -> Floats:
        """(G, s): statistics by cluster, mean over seeds."""
        sums: Floats = np.mean(
            [sum_by_cluster(run.values, self.clusters) for run in self.runs], axis=0
        )
        return sums

    @cached_property
    def flipped(self) -> Floats:
        """(B, s): sums of `totals` under random signs."""
        return random_signs(self.totals)


def paired_tests(
    results: Mapping[str, Sequence[ScoredRun]],
    scorer: ScorerSpec = None,
    *,
    against: str | None = None,
) -> tuple[PairedTest, ...]:
    """Every pair of techniques, or each against one of them, Holm-corrected as one family.

    `results` has one evaluation for each seed of each technique. `scorer` scores the predictions
    again; None takes the recorded scores. To test the best technique against the rest, test all
    pairs: which one is best was chosen on the same data, and only the larger family corrects for
    that choice. UserError where the runs did not answer the same examples.
    """
    names = [name for name, runs in results.items() if runs]
    if against is not None and against not in names:
        raise UserError(
            f"No results of {against!r}.", choices=names, next_step=did_you_mean(against, names)
        )
    if len(names) < 2 or not results[names[0]][0].sample_scores:
        return ()
    all_runs = [run for name in names for run in results[name]]
    chosen, sample_scores = scored_by(scorer, all_runs)
    clusters = clusters_of(sample_scores[0])
    statistics = statistics_of(sample_scores, chosen)
    bounds = bounds_of(sample_scores, chosen)
    exact = int(clusters.max()) + 1 == len(clusters) and all(
        is_proportion(s.values, chosen) for s in statistics
    )
    sides: dict[str, _Side] = {}
    for place, name in enumerate(names):
        own = statistics[: len(results[name])]
        statistics = statistics[len(results[name]) :]
        sides[name] = _Side(own, clusters, place)
    pairs = list(combinations(names, 2))
    if against is not None:
        pairs = [(name, against) for name in names if name != against]
    tests = [_test((a, b), sides, bounds=bounds, exact=exact) for a, b in pairs]
    return _decided(tests, chosen.higher_is_better)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (1979), through `statsmodels`."""
    if len(p_values) < 2:
        return list(p_values)
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(p_values, alpha=ALPHA, method="holm")[1]]


def mcnemar_p(a: Floats, b: Floats) -> float:
    """McNemar's exact test on scores of 0 and 1 (n,): it counts those that only one got right."""
    from statsmodels.stats.contingency_tables import mcnemar

    only_a, only_b = int(np.sum(a > b)), int(np.sum(b > a))
    both = int(np.sum((a == 1.0) & (b == 1.0)))
    table = [[both, only_a], [only_b, len(a) - both - only_a - only_b]]
    return min(1.0, float(mcnemar(table, exact=True).pvalue))


def permutation_p(a: Statistics, b: Statistics, clusters: Clusters) -> tuple[float, bool]:
    """Two-sided p of exchanging a and b cluster by cluster, and whether all exchanges were tried.

    With random exchanges the observed arrangement counts among them, so that p is never 0
    (Phipson and Smyth 2010, section 2).
    """
    return _permutation(_Side([a], clusters), _Side([b], clusters))


def _permutation(a: _Side, b: _Side) -> tuple[float, bool]:
    kind = a.runs[0]
    difference = a.totals - b.totals
    both = (a.totals + b.totals).sum(axis=0)
    every = every_sign(difference)
    moved = a.flipped - b.flipped if every is None else every
    observed = abs(float(_gap(both, difference.sum(axis=0), kind)))
    # Sums in single precision: equal arrangements may differ in the seventh digit.
    slack = 1e-6 * max(1.0, abs(float(kind.combine(both))))
    as_large = int(np.sum(np.abs(_gap(both, moved, kind)) >= observed - slack))
    if every is not None:
        return as_large / len(every), True
    return (as_large + 1) / (len(moved) + 1), False


def _gap(both: Floats, moved: Floats, kind: Statistics) -> Floats:
    """Metric of a minus metric of b, from a + b (s,) and a - b (..., s)."""
    return kind.combine((both + moved) / 2.0) - kind.combine((both - moved) / 2.0)


def _test(
    pair: tuple[str, str],
    sides: Mapping[str, _Side],
    *,
    bounds: Bounds,
    exact: bool,
) -> PairedTest:
    a, b = sides[pair[0]], sides[pair[1]]
    groups, examples = len(a.totals), len(a.clusters)
    seeds = (len(a.runs), len(b.runs))
    if exact and seeds == (1, 1):
        p = mcnemar_p(a.runs[0].values[:, 0], b.runs[0].values[:, 0])
        name = "McNemar, exact"
    else:
        p, complete = _permutation(a, b)
        name = "paired permutation" + (", by group" if groups < examples else "")
        name += ", exact" if complete else ""
    differences = a.replicates - b.replicates
    without_one = left_out(a.runs, a.clusters) - left_out(b.runs, b.clusters)
    low, high = _difference_interval(a.value - b.value, differences, without_one, bounds)
    return PairedTest(
        first=pair[0],
        second=pair[1],
        difference=a.value - b.value,
        low=low,
        high=high,
        p_value=p,
        p_adjusted=p,
        tied=True,
        test=name,
        examples=examples,
        clusters=groups,
        seeds=seeds,
    )


def _difference_interval(
    difference: float, replicates: Floats, without_one: Floats, bounds: Bounds
) -> Interval:
    if not np.isfinite(difference):
        return None, None
    width = None if bounds.low is None or bounds.high is None else bounds.high - bounds.low
    clusters = len(without_one)
    if spread(replicates) == 0.0:
        # The two agree on every example; how often may they differ on others?
        if width is None:
            return None, None
        reach = width * wilson(0, clusters)[1]
        return max(-width, difference - reach), min(width, difference + reach)
    range_ = Bounds(None if width is None else -width, width)
    ends = percentile_ends(replicates, clusters)
    return range_.around(difference, widened(ends, difference, without_one))


def _contains_zero(low: float | None, high: float | None) -> bool:
    return low is not None and high is not None and low <= 0.0 <= high


def _decided(tests: Sequence[PairedTest], higher_is_better: bool) -> tuple[PairedTest, ...]:
    decided = []
    for test, p in zip(tests, holm([t.p_value for t in tests]), strict=True):
        tied = p >= ALPHA or test.difference == 0.0 or _contains_zero(test.low, test.high)
        first_wins = (test.difference > 0.0) == higher_is_better
        better = None if tied else test.first if first_wins else test.second
        decided.append(replace(test, p_adjusted=p, tied=tied, better=better))
    return tuple(decided)
