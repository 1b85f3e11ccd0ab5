"""How good a reward model is on opinions that it did not learn from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from luthier.ledger.opinions import GRADES
from luthier.training.reward_training import OpenReward, RewardPair

BINS = 5


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The share of pairs of which the better answer got the higher number, with Wilson's 95 %
    interval. None: there was no pair."""

    value: float | None
    low: float | None
    high: float | None
    pairs: int


@dataclass(frozen=True, slots=True)
class RewardReport:
    """Held-out accuracy, by grade and in all, beside a baseline that looks at lengths alone.

    `calibration_error` is the mean distance, weighted by pairs, between σ(r_c − r_r) and the share
    that was right, over five bins of equal width.
    """

    accuracy: Accuracy
    by_grade: dict[str, Accuracy]
    length_baseline: Accuracy
    calibration_error: float | None
    trained_on: int


def reward_report(
    reward: OpenReward, held_out: Sequence[RewardPair], trained_on: Sequence[RewardPair]
) -> RewardReport:
    """Score the held-out pairs."""
    pairs = [p for p in held_out if p.grade != "unsure"]
    examples = [p.example for p in pairs]
    better = reward(examples, [e.target for e in examples]) if pairs else []
    worse = reward(examples, [e.rejected or "" for e in examples]) if pairs else []
    gaps = [b - w for b, w in zip(better, worse, strict=True)]
    right = [gap > 0 for gap in gaps]
    return RewardReport(
        accuracy=accuracy(right),
        by_grade={
            grade: accuracy([r for r, p in zip(right, pairs, strict=True) if p.grade == grade])
            for grade in GRADES
            if any(p.grade == grade for p in pairs)
        },
        length_baseline=accuracy(_by_length(pairs, trained_on)),
        calibration_error=_calibration(gaps),
        trained_on=len(trained_on),
    )


def accuracy(right: Sequence[bool | float]) -> Accuracy:
    """The share that is right; a half counts half."""
    from statsmodels.stats.proportion import proportion_confint

    if not right:
        return Accuracy(None, None, None, 0)
    count = sum(float(r) for r in right)
    low, high = proportion_confint(count, len(right), method="wilson")
    return Accuracy(count / len(right), float(low), float(high), len(right))


def _by_length(pairs: Sequence[RewardPair], trained_on: Sequence[RewardPair]) -> list[float]:
    """Longer is better, or shorter, whichever was so where it may be learnt; a half for equals."""
    longer = sum(_length(p) for p in trained_on)
    sign = 1 if longer >= 0 else -1
    return [0.5 + 0.5 * sign * _length(p) for p in pairs]


def _length(pair: RewardPair) -> int:
    gap = len(pair.example.target) - len(pair.example.rejected or "")
    return (gap > 0) - (gap < 0)


def _calibration(gaps: Sequence[float]) -> float | None:
    """Each pair is seen from its surer side: σ(|gap|) against whether that side was right."""
    if not gaps:
        return None
    sure = [1 / (1 + math.exp(-min(abs(gap), 50.0))) for gap in gaps]
    total = 0.0
    for k in range(BINS):
        low, high = 0.5 + 0.5 * k / BINS, 0.5 + 0.5 * (k + 1) / BINS
        inside = [i for i, s in enumerate(sure) if low <= s < high or (k == BINS - 1 and s == 1.0)]
        if inside:
            said = sum(sure[i] for i in inside) / len(inside)
            was = sum(gaps[i] > 0 for i in inside) / len(inside)
            total += len(inside) * abs(said - was)
    return total / len(gaps)
