"""What is gained by answering only where the base is sure? The risk–coverage curve.

Coverage is the share of questions that are answered, the surest first; risk is the share of wrong
answers among them. AURC is the mean risk over all coverages (Geifman and El-Yaniv 2017,
arXiv:1705.08500; Geifman et al. 2018, arXiv:1805.08206). Among answers of equal confidence the
wrong ones count as spread evenly, so that no order of the data decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

POINTS = 20  # of the curve that are kept


@dataclass(frozen=True, slots=True)
class CoveragePoint:
    """The share of questions that are answered above a confidence, and of these the wrong ones."""

    coverage: float
    risk: float


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """The curve. `aurc` lies between `least`, that of an oracle who puts every right answer first,
    and, for a confidence that tells nothing, `blind`, the share of wrong answers."""

    aurc: float
    least: float
    blind: float
    points: tuple[CoveragePoint, ...]

    @property
    def gain(self) -> float | None:
        """How far the confidence comes from blind (0) to the oracle (1); None where all answers are
        right or all are wrong."""
        room = self.blind - self.least
        return (self.blind - self.aurc) / room if room > 1e-12 else None


def risk_coverage(confidences: Sequence[float], right: Sequence[float]) -> RiskCoverage | None:
    """The curve over answers with their confidence; None without answers."""
    count = len(confidences)
    if not count:
        return None
    wrong = 1.0 - np.asarray(right, np.float64)
    order = np.argsort(-np.asarray(confidences, np.float64), kind="stable")
    sure, wrong = np.asarray(confidences, np.float64)[order], wrong[order]
    _, place, sizes = np.unique(-sure, return_inverse=True, return_counts=True)
    even = (np.bincount(place, weights=wrong) / sizes)[place]  # the mean of its group, for each
    answered = np.arange(1, count + 1)
    risks = np.cumsum(even) / answered
    best = np.cumsum(np.sort(wrong)) / answered
    kept = np.unique(np.linspace(0, count - 1, min(POINTS, count)).round().astype(int))
    return RiskCoverage(
        aurc=float(risks.mean()),
        least=float(best.mean()),
        blind=float(wrong.mean()),
        points=tuple(CoveragePoint(float(answered[i] / count), float(risks[i])) for i in kept),
    )
