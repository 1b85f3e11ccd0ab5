"""How well a number tells two sets of texts apart: the area under the ROC curve, with an interval.

The area is the share of pairs in which the first text has the larger number, ties counting half.
The interval resamples documents, not windows: windows of one document are alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from luthier.records import Score

RESAMPLES = 2000
FEW_DOCUMENTS = 2  # below this, windows are resampled instead
ROC_POINTS = 60
Values = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]


def area(
    first: Sequence[float],
    second: Sequence[float],
    *,
    of_first: Sequence[int],
    of_second: Sequence[int],
    matched: bool = False,
    metric: str = "auc",
) -> Score:
    """The area under the ROC curve of `first` against `second`, with its 95 % interval.

    `of_first` and `of_second` say which document each value belongs to. `matched`: the second texts
    are made from the documents of the first, which are drawn together.
    """
    wins = _wins(np.asarray(first, float), np.asarray(second, float))
    rows, row_count = _numbered(of_first)
    columns, column_count = _numbered(of_second, like=of_first) if matched else _numbered(of_second)
    if min(row_count, column_count) < FEW_DOCUMENTS:
        rows, row_count = np.arange(len(first)), len(first)
        columns, column_count = np.arange(len(second)), len(second)
        matched = matched and len(first) == len(second)
    sums = np.zeros((row_count, column_count))
    sizes = np.zeros((row_count, column_count))
    np.add.at(sums, (rows[:, None], columns[None, :]), wins)
    np.add.at(sizes, (rows[:, None], columns[None, :]), 1.0)
    rng = np.random.default_rng(0)
    weights = _draws(rng, row_count)
    others = weights if matched else _draws(rng, column_count)
    totals = ((weights @ sizes) * others).sum(1)
    drawn = ((weights @ sums) * others).sum(1)[totals > 0] / totals[totals > 0]
    value = float(wins.mean())
    low, high = _ends(drawn, value, min(row_count, column_count))
    return Score(metric, value, low, high)


def share_above(
    first: Sequence[float], second: Sequence[float], *, of: Sequence[int], metric: str = "paired"
) -> Score:
    """The share of windows that have a larger number than their own shuffled form, with its
    interval over documents."""
    wins = (np.asarray(first) > np.asarray(second)) + 0.5 * (
        np.asarray(first) == np.asarray(second)
    )
    numbers, count = _numbered(of)
    if count < FEW_DOCUMENTS:
        numbers, count = np.arange(len(wins)), len(wins)
    sums, sizes = np.bincount(numbers, wins, count), np.bincount(numbers, minlength=count)
    weights = _draws(np.random.default_rng(0), count)
    drawn = (weights @ sums) / (weights @ sizes)
    value = float(wins.mean())
    low, high = _ends(drawn, value, count)
    return Score(metric, value, low, high)


def roc(first: Sequence[float], second: Sequence[float]) -> tuple[tuple[float, float], ...]:
    """Points of the ROC curve: the share of the second and of the first texts above a threshold."""
    thresholds = np.unique(np.concatenate([first, second]))[::-1]
    if len(thresholds) > ROC_POINTS:
        thresholds = np.quantile(thresholds, np.linspace(1.0, 0.0, ROC_POINTS))
    one, other = np.asarray(first), np.asarray(second)
    points = [(0.0, 0.0)]
    points += [(float((other >= t).mean()), float((one >= t).mean())) for t in thresholds]
    return tuple(points)


def verdict(score: Score, *, middle: float = 0.5) -> str:
    """ "more", "less", or "cannot tell" where the interval holds the middle."""
    if score.low is None or score.high is None or score.low <= middle <= score.high:
        return "cannot tell"
    return "more" if score.low > middle else "less"


def _wins(first: Values, second: Values) -> Values:
    difference = first[:, None] - second[None, :]
    wins: Values = (difference > 0) + 0.5 * (difference == 0)
    return wins


def _numbered(of: Sequence[int], *, like: Sequence[int] | None = None) -> tuple[Numbers, int]:
    names = {name: n for n, name in enumerate(dict.fromkeys([*(like or ()), *of]))}
    return np.array([names[name] for name in of], dtype=np.int64), len(names)


def _draws(rng: np.random.Generator, count: int) -> Values:
    return rng.multinomial(count, np.full(count, 1.0 / count), size=RESAMPLES).astype(float)


def _ends(drawn: Values, value: float, count: int) -> tuple[float | None, float | None]:
    """The 95 % interval of a share: percentiles, widened for few clusters as a t interval is, and
    never narrower than Wilson's for as many trials as there are clusters where all agree."""
    from scipy.stats import t

    from luthier.scoring.statistics.intervals import wilson

    if count < 2 or not len(drawn):
        return None, None
    low, high = (float(end) for end in np.quantile(drawn, [0.025, 0.975]))
    if high - low < 1e-9:
        return wilson(value * count, count)
    wider = float(t.ppf(0.975, count - 1)) / 1.959964 * (count / (count - 1)) ** 0.5
    return max(0.0, value - wider * (value - low)), min(1.0, value + wider * (high - value))
