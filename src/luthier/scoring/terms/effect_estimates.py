"""From the scores of trials to effects with intervals.

Leaving one out and permutations give differences within units, whose mean has Student's interval.
A factorial design is read by least squares with a level for each unit; its covariance is that of
MacKinnon and White (1985, HC3), which holds where the scores of some trials vary more than those of
others, as scores between 0 and 1 do.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from luthier.scoring.terms.designs import Trial
from luthier.scoring.terms.effects import Effect, PairEffect, TermEffects

Floats = npt.NDArray[np.float64]
Estimate = tuple[float, float, float, float]  # value, low, high, p
MOST_PARAMETERS = 0.5  # of the trials: pairs are left out where they would be more


def estimate_effects(design: str, trials: Sequence[Trial], scores: Sequence[float]) -> TermEffects:
    """The effects from the scores of all trials of one design ("factorial", "leave-one-out" or
    "permutations")."""
    shown = np.array([trial.shown for trial in trials], bool)
    values = np.array(scores, float)
    units = np.array([trial.unit for trial in trials])
    pairs: list[tuple[int, int]] = []
    if design == "factorial":
        pairs = _separable_pairs(shown)
        singles, joint = _least_squares(shown, values, units, pairs)
    elif design == "leave-one-out":
        singles, joint = _left_out(shown, values, units), []
    else:
        orders = np.array([trial.order for trial in trials])
        singles, joint = _gains(shown, values, orders), []
    adjusted = holm([e[3] for e in (*singles, *joint)])
    count = len(singles)
    return TermEffects(
        design,
        tuple(Effect(i, *e, p) for i, (e, p) in enumerate(zip(singles, adjusted, strict=False))),
        tuple(
            PairEffect(*pair, *e, p)
            for pair, e, p in zip(pairs, joint, adjusted[count:], strict=True)
        ),
        len(trials),
        len(np.unique(units)),
    )


def tells_pairs(trials: Sequence[Trial]) -> bool:
    """Whether a factorial design tells the effects of pairs apart."""
    return bool(_separable_pairs(np.array([trial.shown for trial in trials], bool)))


def holm(values: Sequence[float]) -> list[float]:
    """Holm's adjusted p (1979); a value that is not a number counts as 1."""
    from statsmodels.stats.multitest import multipletests

    known = np.nan_to_num(np.array(values, float), nan=1.0)
    return [float(p) for p in multipletests(known, method="holm")[1]] if len(known) else []


def mean_of(differences: Floats) -> Estimate:
    """The mean of differences with Student's interval; nothing is claimed from fewer than two."""
    from scipy.stats import t

    value, count = float(np.mean(differences)), len(differences)
    if count < 2:
        return value, -np.inf, np.inf, 1.0
    error = float(np.std(differences, ddof=1) / np.sqrt(count))
    return _student(value, error, count - 1, t)


def _student(value: float, error: float, freedom: int, t: object) -> Estimate:
    if error <= 1e-12:  # all the same: an interval of no width, and p says which side
        return value, value, value, 1.0 if abs(value) <= 1e-12 else 0.0
    reach = float(t.isf(0.025, freedom)) * error  # type: ignore[attr-defined]
    p = float(2 * t.sf(abs(value) / error, freedom))  # type: ignore[attr-defined]
    return value, value - reach, value + reach, p


def _left_out(
    shown: npt.NDArray[np.bool_], values: Floats, units: npt.NDArray[np.int64]
) -> list[Estimate]:
    """The score with all terms less that without one, unit by unit."""
    found = []
    whole = {u: v for u, v, s in zip(units, values, shown, strict=True) if s.all()}
    for term in range(shown.shape[1]):
        without = ~shown[:, term] & (shown.sum(1) == shown.shape[1] - 1)
        pairs = zip(units[without], values[without], strict=True)
        found.append(mean_of(np.array([whole[unit] - value for unit, value in pairs])))
    return found


def _gains(
    shown: npt.NDArray[np.bool_], values: Floats, orders: npt.NDArray[np.int64]
) -> list[Estimate]:
    """Each order adds one term after another: its gain is the score after less that before."""
    gains: list[list[float]] = [[] for _ in range(shown.shape[1])]
    for order in np.unique(orders):
        rows = np.where(orders == order)[0]
        for before, after in itertools.pairwise(rows):
            (term,) = np.where(shown[after] & ~shown[before])[0]
            gains[int(term)].append(float(values[after] - values[before]))
    return [mean_of(np.array(found)) for found in gains]


def _separable_pairs(shown: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """All pairs where the design tells each from all others and from single terms, and leaves
    enough trials to say how much scores vary; else none."""
    x = np.where(shown, 1.0, -1.0)
    pairs = list(itertools.combinations(range(shown.shape[1]), 2))
    columns = [x, *(x[:, i, None] * x[:, j, None] for i, j in pairs)]
    everything = np.hstack([np.ones((len(x), 1)), *columns])
    if everything.shape[1] > MOST_PARAMETERS * len(x):
        return []
    return pairs if np.linalg.matrix_rank(everything) == everything.shape[1] else []


def _least_squares(
    shown: npt.NDArray[np.bool_], values: Floats, units: npt.NDArray[np.int64],
    pairs: Sequence[tuple[int, int]],
) -> tuple[list[Estimate], list[Estimate]]:  # fmt: skip
    """y = level of the unit + Σ β_i x_i + Σ β_ij x_i x_j with x = ±1. The effect of a term is
    2 β_i, that of a pair 4 β_ij."""
    from scipy.stats import t

    x = np.where(shown, 1.0, -1.0)
    wanted = np.hstack([x, *(x[:, i, None] * x[:, j, None] for i, j in pairs)])
    levels = (units[:, None] == np.unique(units)).astype(float)
    count = wanted.shape[1]
    if levels.shape[1] + count > 0.75 * len(x):  # too few trials a unit for levels of their own
        levels = np.ones((len(x), 1))
    matrix = np.hstack([wanted, levels])
    inverse = np.linalg.pinv(matrix.T @ matrix)
    beta = inverse @ matrix.T @ values
    rest = values - matrix @ beta
    lever = np.einsum("ij,jk,ik->i", matrix, inverse, matrix).clip(max=0.999)
    meat = (matrix * ((rest / (1 - lever)) ** 2)[:, None]).T @ matrix
    errors = np.sqrt(np.diag(inverse @ meat @ inverse).clip(min=0))
    freedom = max(1, len(x) - int(np.linalg.matrix_rank(matrix)))
    scale = np.where(np.arange(count) < shown.shape[1], 2.0, 4.0)
    found = [
        _student(float(s * b), float(s * e), freedom, t)
        for s, b, e in zip(scale, beta[:count], errors[:count], strict=True)
    ]
    return found[: shown.shape[1]], found[shown.shape[1] :]
