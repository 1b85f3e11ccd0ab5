"""Aggregation: every metric is a function of summed per-example statistics.

The mean is sum(scores) / sum(weights); macro-F1, BLEU, chrF and perplexity are functions of sums as
well. This makes resampling cheap: a bootstrap replicate is weights (B, n) times statistics (n, s),
and a permutation exchanges rows, whatever the metric.

B replicates, n examples, s statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from luthier.records import SampleScore

Floats = npt.NDArray[np.float64]

# Counts may be averaged over seeds in single precision: what is below this counts as 0.
ZERO_COUNT = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """`values` (n, s), one row for each example; `combine` maps sums (..., s) to the metric."""

    values: Floats
    combine: Callable[[Floats], Floats]

    @property
    def value(self) -> float:
        """The metric over all rows."""
        return float(self.combine(self.values.sum(axis=0)))


def mean(sample_scores: Sequence[SampleScore]) -> Statistics:
    """The weighted mean of the scores (s = 2)."""
    return Statistics(weighted_values(sample_scores), ratio)


def weighted_values(sample_scores: Sequence[SampleScore]) -> Floats:
    """(n, 2): score times weight, and weight."""
    return np.array(
        [(s.value * s.weight, s.weight) for s in sample_scores], dtype=np.float64
    ).reshape(len(sample_scores), 2)


def ratio(sums: Floats) -> Floats:
    """(..., 2) to (...): the first sum divided by the second; NaN where the second is 0."""
    top, bottom = sums[..., 0], sums[..., 1]
    return np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom > 0)
