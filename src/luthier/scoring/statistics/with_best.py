"""Comparisons with the best: which techniques fall short of it, and by how much at most.

Only the technique with the best mean is compared, with each other one and with always giving the
commonest label; these comparisons are one family. Which technique is best was chosen on the same
examples, so that each replicate of the bootstrap chooses its own best. With z_i the deviation of
technique i in a replicate (other examples, other seeds) and e_ij the error of a difference,

    M = max over j of (z_b - z_j) / e_bj,    b = the best in that replicate, were all truly equal.

The 95 % quantile of M is the one critical value of all intervals, and the share of replicates in
which M is as large as a difference its adjusted p (single-step max-t; Westfall and Young 1993,
Resampling-Based Multiple Testing, section 2.6). An interval and its p therefore never contradict
each other. Where seeds play a part, the values are transformed from normal to Student's t with
Satterthwaite's degrees of freedom (`components`), pair by pair.

`bounds` are Hsu's multiple comparisons with the best (1984, Annals of Statistics 12(3),
doi:10.1214/aos/1176346732): with 95 % confidence, and for all techniques at once, technique i is at
most bounds[i] below the truly best, whichever that is. They do not depend on which one looks best.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from luthier.errors import UserError, did_you_mean
from luthier.records import PairedTest, SampleScore
from luthier.scoring.aggregate import ScoredRun, ScorerSpec, bounds_of, fits_of
from luthier.scoring.metrics import Floats, Statistics, ratio
from luthier.scoring.statistics.components import (
    FitScores,
    SeedVariance,
    Uncertainty,
    pooled,
    seed_share,
    uncertainty,
)
from luthier.scoring.statistics.intervals import Bounds, wilson

ALPHA = 0.05
COMMONEST = "always the commonest label"
TEST = "max-t bootstrap"


@dataclass(frozen=True, slots=True)
class ComparisonsWithBest:
    """What is known about the best of several techniques.

    `best` has the best mean. `tests` compare each other technique with it (`first` minus `second`,
    the best), and where asked for the answer that is commonest. `bounds`: with 95 % confidence each
    technique is at most so far below the truly best, in units of the metric; None where that is
    unknown. `optimism`: by how much the best score is too good because it is the best of several,
    as far as the bootstrap shows it; None for one technique.
    """

    best: str | None = None
    tests: tuple[PairedTest, ...] = ()
    bounds: Mapping[str, float | None] = field(default_factory=dict)
    optimism: float | None = None


def compare_with_best(
    results: Mapping[str, Sequence[ScoredRun]],
    scorer: ScorerSpec = None,
    *,
    seeded: Collection[str] = (),
    commonest: bool = False,
) -> ComparisonsWithBest:
    """The comparisons with the best of `results`, one evaluation for each seed of each technique.

    **Arguments**

    - `scorer` scores the predictions again; None takes the recorded scores.
    - `seeded` names the techniques whose fit depends on a seed, needed where one has one seed only.
    - `commonest`: compare the best with always giving the commonest label too (accuracy only).

    UserError where the runs did not answer the same examples.
    """
    results = {name: runs for name, runs in results.items() if runs}
    if not results or not next(iter(results.values()))[0].sample_scores:
        return ComparisonsWithBest()
    chosen, fits = fits_of(results, scorer, seeded=seeded)
    names = list(fits)
    some = next(iter(results.values()))[0].sample_scores
    bounds = bounds_of([run.sample_scores for runs in results.values() for run in runs], chosen)
    if commonest:
        clusters = fits[names[0]].clusters
        fits[COMMONEST] = FitScores.of([_commonest(some)], clusters)
    family = _Family(fits, len(names), 1.0 if chosen.higher_is_better else -1.0, bounds)
    best = family.best
    return ComparisonsWithBest(
        best=names[best],
        tests=family.tests(),
        bounds=dict(zip(names, family.loss_bounds(), strict=True)),
        optimism=family.optimism() if len(names) > 1 else None,
    )


def paired_tests(
    results: Mapping[str, Sequence[ScoredRun]],
    scorer: ScorerSpec = None,
    *,
    against: str,
    seeded: Collection[str] = (),
) -> tuple[PairedTest, ...]:
    """Each technique against one that was named beforehand (a reference), as one family.

    The arguments are those of `compare_with_best`. UserError where there is no result of that name.
    """
    results = {name: runs for name, runs in results.items() if runs}
    names = list(results)
    if against not in names:
        raise UserError(
            f"No results of {against!r}.", choices=names, next_step=did_you_mean(against, names)
        )
    if not results[against][0].sample_scores:
        return ()
    chosen, fits = fits_of(results, scorer, seeded=seeded)
    bounds = bounds_of([run.sample_scores for runs in results.values() for run in runs], chosen)
    sign = 1.0 if chosen.higher_is_better else -1.0
    return _Family(fits, len(names), sign, bounds).tests(names.index(against))


class _Family:
    """Techniques, the first `count` of which may be best. All values are such that more is better:
    they are multiplied by `sign`."""

    def __init__(
        self, fits: Mapping[str, FitScores], count: int, sign: float, bounds: Bounds
    ) -> None:
        self.names, self.fits = list(fits), list(fits.values())
        self.count, self.sign = count, sign
        self.seeds = pooled(self.fits)
        one = self.fits[0]
        self.examples, self.groups = len(one.clusters), one.groups
        open_ = bounds.low is None or bounds.high is None
        self.width = None if open_ else float(bounds.high - bounds.low)  # type: ignore[operator]
        self.values = sign * np.array([each.value for each in self.fits])
        self.best = int(np.argmax(self.values[:count]))
        bare = np.stack([sign * each.deviations for each in self.fits], axis=1)
        self.pairs = self._pairs(bare)
        self.errors = np.array([[each.error for each in row] for row in self.pairs])
        self.moved = bare + _seed_effects(self.fits, self.seeds, len(bare))

    def _pairs(self, bare: Floats) -> list[list[Uncertainty]]:
        """(T, T): of the difference of every two."""
        size = len(self.fits)
        nothing = Uncertainty(0.0, 1.0)
        table = [[nothing] * size for _ in range(size)]
        for i in range(size):
            for j in range(i):
                found = uncertainty(
                    bare[:, i] - bare[:, j],
                    groups=self.groups,
                    share=seed_share(self.fits[i]) + seed_share(self.fits[j]),
                    seeds=self.seeds,
                )
                if found.variance == 0.0 and self.width is not None:
                    # The two agree on every example. How often may they differ on others?
                    error = self.width * wilson(0, self.groups)[1] / _normal_quantile(ALPHA / 2)
                    found = Uncertainty(error**2, found.freedom)
                table[i][j] = table[j][i] = found
        return table

    def _standardised(self, differences: Floats, errors: Floats) -> Floats:
        """Differences in standard errors; 0 where there is no error."""
        out: Floats = np.zeros(np.shape(differences))
        return np.divide(differences, errors, out=out, where=errors > 0.0)

    def tests(self, control: int | None = None) -> tuple[PairedTest, ...]:
        """Each other one against `control`, with simultaneous intervals and adjusted p.

        None: against the best, which each replicate chooses anew.
        """
        rows = np.arange(len(self.moved))
        if control is None:
            there = np.argmax(self.moved[:, : self.count], axis=1)
            control = self.best
        else:
            there = np.full(len(rows), control)
        apart = np.abs(self.moved[rows, there][:, None] - self.moved)
        largest = self._standardised(apart, self.errors[there]).max(axis=1)
        # A bootstrap of few clusters must not be more sure of a family than of one comparison.
        critical = max(_critical(largest), _normal_quantile(ALPHA / 2))
        others = [place for place in range(len(self.fits)) if place != control]
        return tuple(self._test(place, control, largest, critical) for place in others)

    def _test(self, place: int, control: int, largest: Floats, critical: float) -> PairedTest:
        difference = float(self.values[place] - self.values[control])
        found = self.pairs[place][control]
        p_value, p_adjusted = self._p_values(difference, found, largest)
        tied = p_adjusted >= ALPHA
        low, high = self._interval(difference, found, critical)
        if self.sign < 0.0:
            low, high = (None if high is None else -high), (None if low is None else -low)
        return PairedTest(
            first=self.names[place],
            second=self.names[control],
            difference=self.sign * difference,
            low=low,
            high=high,
            p_value=p_value,
            p_adjusted=p_adjusted,
            tied=tied,
            test=TEST + (", by group" if self.groups < self.examples else ""),
            examples=self.examples,
            better=None if tied else self.names[control if difference < 0.0 else place],
            clusters=self.groups,
            seeds=(self.fits[place].count, self.fits[control].count),
        )

    def _p_values(
        self, difference: float, found: Uncertainty, largest: Floats
    ) -> tuple[float, float]:
        """Two-sided p of one comparison, and adjusted for the family."""
        from scipy.stats import norm, t

        if difference == 0.0:
            return 1.0, 1.0
        if found.error == 0.0:
            # A metric without a range, and the same difference on every example: all signs agree.
            p = max(0.5 ** (self.groups - 1), 1.0 / (len(largest) + 1))
            return p, min(1.0, p * (len(self.fits) - 1))
        tail = float(t.sf(abs(difference) / found.error, found.freedom))
        as_large = int(np.sum(largest >= norm.isf(tail)))
        return 2.0 * tail, max(2.0 * tail, (as_large + 1) / (len(largest) + 1))

    def _interval(
        self, difference: float, found: Uncertainty, critical: float
    ) -> tuple[float | None, float | None]:
        if found.error == 0.0:
            return None, None
        reach = _student(critical, found.freedom) * found.error
        low, high = difference - reach, difference + reach
        if self.width is not None:
            low, high = max(-self.width, low), min(self.width, high)
        return low, high

    def loss_bounds(self) -> list[float | None]:
        """For each technique that may be best, how far below the truly best it is at most."""
        if self.count == 1:
            return [0.0]
        if np.any(self.errors[: self.count, : self.count][~np.eye(self.count, dtype=bool)] == 0.0):
            return [None] * self.count
        reach = np.array([self._reach(place) for place in range(self.count)])
        gaps = self.values[:, None] - self.values[None, :]
        everyone = range(self.count)
        may_be_best = [
            j for j in everyone if min(gaps[j, i] + reach[j, i] for i in everyone if i != j) > 0.0
        ]
        most = np.inf if self.width is None else self.width
        losses = [
            max([0.0, *(reach[j, i] - gaps[i, j] for j in may_be_best if j != i)]) for i in everyone
        ]
        return [min(most, float(loss)) for loss in losses]

    def _reach(self, place: int) -> Floats:
        """(count,): how far each other one may seem better than `place` although it is not."""
        errors = self.errors[place, : self.count]
        apart = self.moved[:, : self.count] - self.moved[:, place : place + 1]
        others = np.arange(self.count) != place
        largest = self._standardised(apart, np.broadcast_to(errors, apart.shape))[:, others]
        critical = max(_critical(largest.max(axis=1)), _normal_quantile(ALPHA))
        freedom = [each.freedom for each in self.pairs[place][: self.count]]
        reach: Floats = errors * np.array([_student(critical, each) for each in freedom])
        return reach

    def optimism(self) -> float:
        """How much better the best of a replicate looks than it was in what was resampled."""
        moved = self.moved[:, : self.count]
        chosen = np.argmax(self.values[: self.count] + moved, axis=1)
        return max(0.0, float(np.mean(moved[np.arange(len(moved)), chosen])))


def _seed_effects(fits: Sequence[FitScores], seeds: SeedVariance | None, replicates: int) -> Floats:
    """(B, T): how far another draw of seeds moves each mean."""
    shares = np.array([seed_share(each) for each in fits])
    variance = 0.0 if seeds is None else seeds.value
    rng = np.random.default_rng([0, 2])
    effects: Floats = rng.standard_normal((replicates, len(fits))) * np.sqrt(variance * shares)
    return effects


def _critical(largest: Floats) -> float:
    """The value that exactly those differences exceed whose adjusted p is below 5 %."""
    count = len(largest)
    place = int(np.ceil(ALPHA * (count + 1))) - 1
    return float(np.partition(largest, count - place)[count - place])


def _student(critical: float, freedom: float) -> float:
    """The quantile of Student's t at the level of a normal quantile."""
    from scipy.stats import norm, t

    return float(t.isf(norm.sf(critical), freedom))


def _normal_quantile(tail: float) -> float:
    from scipy.stats import norm

    return float(norm.isf(tail))


def _commonest(sample_scores: Sequence[SampleScore]) -> Statistics:
    """Always the commonest target, scored by accuracy."""
    targets = [sample.target for sample in sample_scores]
    answer = max(dict.fromkeys(targets), key=targets.count)
    right = np.array([float(target == answer) for target in targets])
    return Statistics(np.c_[right, np.ones(len(right))], ratio)
