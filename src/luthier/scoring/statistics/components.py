"""Two crossed sources of variance: the examples that were drawn, and the seeds of the fits.

The mean score of S fits of one technique on G clusters (groups of examples, or examples) varies by

    V = E + Vs / S,    E = Vc / G + Vr / (G S)

with Vc, Vs and Vr the variances of clusters, of seeds, and of what is left. E comes from the
bootstrap over clusters, which draws the same clusters for every fit. Vs comes from the scores of
the fits: their variance b estimates Vs + e, where e = Vr / G comes from the bootstrap too. Three
seeds say little about b; pooled over all techniques of a comparison that have seeds they say more.

The degrees of freedom of V are Satterthwaite's (1946), Biometrics Bulletin 2, doi:10.2307/3002019:

    V² / (E² / (G - 1) + (b / S)² / F)

with F those of b. The two sources are those of Bouthillier et al. 2021, arXiv:2103.03098.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from luthier.scoring.metrics import Floats, Statistics
from luthier.scoring.statistics.resampling import Clusters, bootstrap_sums, sum_by_cluster


@dataclass(frozen=True, slots=True)
class SeedVariance:
    """The variance of one fit's score between seeds.

    `between` is what the fits show (b), `explained` the part of it that comes from having few
    examples (e), `freedom` the degrees of freedom of `between`.
    """

    between: float
    explained: float
    freedom: int

    @property
    def value(self) -> float:
        """Vs; never less than 0."""
        return max(0.0, self.between - self.explained)


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """The variance of an estimate, and its degrees of freedom."""

    variance: float
    freedom: float

    @property
    def error(self) -> float:
        """The standard error."""
        return float(np.sqrt(self.variance))


@dataclass(frozen=True, eq=False)
class FitScores:
    """The fits of one technique, one for each seed, on the same examples.

    `clusters` (n,) says which examples belong together. `seeded`: another seed gives another fit.
    """

    runs: Sequence[Statistics]
    clusters: Clusters
    seeded: bool

    @staticmethod
    def of(
        runs: Sequence[Statistics], clusters: Clusters, *, seeded: bool | None = None
    ) -> FitScores:
        """Runs that do not differ are one run. `seeded` None: as far as the runs show it."""
        if all(np.array_equal(run.values, runs[0].values) for run in runs):
            once = len(runs) > 1
            return FitScores(runs[:1], clusters, bool(seeded) and not once)
        return FitScores(runs, clusters, seeded=True)

    @property
    def count(self) -> int:
        """S, the number of fits."""
        return len(self.runs)

    @property
    def groups(self) -> int:
        """G, the number of clusters."""
        return int(self.clusters.max()) + 1

    @cached_property
    def values(self) -> Floats:
        """(S,): the metric of each fit."""
        return np.array([run.value for run in self.runs])

    @property
    def value(self) -> float:
        """The mean of the metric over the fits."""
        return float(np.mean(self.values))

    @cached_property
    def each(self) -> Floats:
        """(B, S): bootstrap over clusters of the metric of each fit."""
        single = [sum_by_cluster(run.values, self.clusters) for run in self.runs]
        drawn = bootstrap_sums(np.concatenate(single, axis=1))
        over = self.runs[0].combine(drawn.reshape(len(drawn), self.count, -1))
        return np.where(np.isfinite(over), over, self.values)

    @cached_property
    def deviations(self) -> Floats:
        """(B,): how far the mean over fits moves when other clusters are drawn, about 0.

        Widened by G / (G - 1) in its square, since a bootstrap of G draws is too narrow by that.
        """
        mean = self.each.mean(axis=1)
        widening = np.sqrt(self.groups / max(1, self.groups - 1))
        moved: Floats = (mean - mean.mean()) * widening
        # Sums in single precision: what differs in the seventh digit only does not move.
        return moved if np.ptp(moved) > 1e-6 * max(1.0, abs(self.value)) else np.zeros_like(moved)

    @cached_property
    def seed_variance(self) -> SeedVariance | None:
        """That of these fits alone; None where there is one, or no seed."""
        if not self.seeded or self.count < 2:
            return None
        freedom = self.count - 1
        apart = self.each - self.each.mean(axis=1, keepdims=True)
        explained = float(np.var(apart, axis=0).sum()) / freedom
        return SeedVariance(float(np.var(self.values, ddof=1)), explained, freedom)


def pooled(techniques: Iterable[FitScores]) -> SeedVariance | None:
    """The seed variance over all fits that have seeds; None where none has two.

    Techniques differ in how much a seed matters to them. A pooled variance is too small for the
    most fickle of them; one from three fits alone is too uncertain to be of use.
    """
    found = [fits.seed_variance for fits in techniques]
    known = [each for each in found if each is not None]
    freedom = sum(each.freedom for each in known)
    if not freedom:
        return None
    between = sum(each.between * each.freedom for each in known) / freedom
    explained = sum(each.explained * each.freedom for each in known) / freedom
    return SeedVariance(between, explained, freedom)


def seed_share(fits: FitScores) -> float:
    """1 / S, the share of the seed variance in that of the mean; 0 where no seed plays a part."""
    return 1.0 / fits.count if fits.seeded else 0.0


def uncertainty(
    deviations: Floats, *, groups: int, share: float, seeds: SeedVariance | None
) -> Uncertainty:
    """V and its degrees of freedom, from `FitScores.deviations` (or a difference of two).

    `share` is how much of the seed variance is in the estimate: 1 / S, or the sum for two.
    """
    examples = float(np.var(deviations))
    freedom = float(max(1, groups - 1))
    if seeds is None or share == 0.0 or seeds.value == 0.0:
        return Uncertainty(examples, freedom)
    variance = examples + share * seeds.value
    spread = examples**2 / freedom + (share * seeds.between) ** 2 / seeds.freedom
    return Uncertainty(variance, variance**2 / spread)
