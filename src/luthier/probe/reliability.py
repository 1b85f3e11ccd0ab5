"""Does the base know when it is right? Confidence against accuracy, before and after a temperature.

The expected calibration error is Σ_b (n_b / n) |accuracy_b − confidence_b| over bins that hold
equally many answers (Nixon et al. 2019, arXiv:1904.01685, adaptive ECE). It is above 0 for a base
that is perfectly calibrated too, since few answers scatter: `floor` says by how much. A temperature
T divides the log-probabilities of the labels (Guo et al. 2017, arXiv:1706.04599, section 4.2); it
is the one with the least loss on examples that are not measured on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

import numpy as np
import numpy.typing as npt

from luthier.records import Score
from luthier.scoring.statistics.intervals import CONFIDENCE, wilson

MOST_BINS = 10
LEAST_IN_A_BIN = 8
RESAMPLES = 500
COLDEST, HOTTEST = 0.02, 50.0  # temperatures that are tried

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Answers of like confidence: their number, mean confidence, and share of right ones with its
    interval."""

    answers: int
    confidence: float
    accuracy: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Reliability:
    """How far confidence and accuracy agree over some answers.

    `ece` has a bootstrap interval. `floor` is the error that a perfectly calibrated base of the
    same confidences would show on so many answers. `bias` is mean confidence less accuracy: above 0
    the base believes too much of itself.
    """

    answers: int
    ece: Score
    floor: float
    bias: float
    bins: tuple[ReliabilityBin, ...]


def reliability(
    confidences: Sequence[float], right: Sequence[float], *, seed: int = 0
) -> Reliability | None:
    """The calibration of answers with their confidence in [0, 1] and whether each was right; None
    without answers."""
    sure, hits = np.asarray(confidences, np.float64), np.asarray(right, np.float64)
    if not len(sure):
        return None
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, len(sure), (RESAMPLES, len(sure)))
    drawn = [_ece(sure[row], hits[row]) for row in rows]
    chances = np.clip(sure, 0.0, 1.0)
    ideal = [_ece(sure, rng.random(len(sure)) < chances) for _ in range(RESAMPLES)]
    value, floor = _ece(sure, hits), float(np.mean(ideal))
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Reliability(
        answers=len(sure),
        ece=Score("ece", value, min(value, float(low)), max(value, float(high)), False),
        floor=floor,
        bias=float(sure.mean() - hits.mean()),
        bins=tuple(_bin(sure[part], hits[part]) for part in _parts(sure)),
    )


def best_temperature(logprobs: Floats, targets: Sequence[int]) -> float | None:
    """The temperature with the least mean loss of the targets, columns of `logprobs` (N, L); None
    without examples, or where nothing is to be told apart."""
    from scipy.optimize import minimize_scalar

    if not len(targets) or logprobs.shape[1] < 2:
        return None
    rows = np.arange(len(targets))

    def loss(log_temperature: float) -> float:
        return -float(
            np.mean(np.log(at_temperature(logprobs, exp(log_temperature))[rows, list(targets)]))
        )

    bounds = (float(np.log(COLDEST)), float(np.log(HOTTEST)))
    return exp(float(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def at_temperature(logprobs: Floats, temperature: float) -> Floats:
    """(N, L): softmax(logprobs / T), no entry below 1e-12."""
    scaled = logprobs / temperature
    weights = np.exp(scaled - scaled.max(1, keepdims=True))
    found: Floats = np.maximum(weights / weights.sum(1, keepdims=True), 1e-12)
    return found


def _parts(sure: Floats) -> list[npt.NDArray[np.int64]]:
    """Rows in bins of equal mass, the least sure first."""
    count = max(1, min(MOST_BINS, len(sure) // LEAST_IN_A_BIN))
    return [part for part in np.array_split(np.argsort(sure, kind="stable"), count) if len(part)]


def _ece(sure: Floats, hits: npt.NDArray[np.generic]) -> float:
    values = np.asarray(hits, np.float64)
    gaps = [len(p) * abs(values[p].mean() - sure[p].mean()) for p in _parts(sure)]
    return float(sum(gaps) / len(sure))


def _bin(sure: Floats, hits: Floats) -> ReliabilityBin:
    low, high = wilson(float(hits.sum()), len(hits))
    return ReliabilityBin(len(sure), float(sure.mean()), float(hits.mean()), low, high)
