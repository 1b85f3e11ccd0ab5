"""Agreement beyond chance: Krippendorff's alpha over any number of judges, Cohen's kappa of two.

alpha = 1 − D_o / D_e, with D_o the observed and D_e the expected disagreement under δ²
(Krippendorff 2011, "Computing Krippendorff's alpha-reliability"): items that lack some judges
count. Its interval is a percentile bootstrap over items.
kappa, with its standard error, is that of statsmodels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Level = Literal["nominal", "ordinal", "interval"]
Floats = npt.NDArray[np.float64]
REPLICATES = 2_000


@dataclass(frozen=True, slots=True)
class Agreement:
    """A coefficient with its 95 % interval. `value` None: it cannot be computed, as where nobody
    judged what another one did, or all said the same of everything."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    items: int


def krippendorff_alpha(
    ratings: Sequence[Sequence[float | None]], *, level: Level = "nominal", seed: int = 0
) -> Agreement:
    """Alpha of items × judges; None where a judge said nothing of an item."""
    said = [[float(v) for v in row if v is not None] for row in ratings]
    said = [row for row in said if len(row) > 1]
    name = f"Krippendorff's alpha ({level})"
    if not said:
        return Agreement(name, None, None, None, 0)
    values = sorted({v for row in said for v in row})
    place = {v: i for i, v in enumerate(values)}
    coincidences = np.zeros((len(said), len(values), len(values)))
    for i, row in enumerate(said):
        counts = np.zeros(len(values))
        for v in row:
            counts[place[v]] += 1
        pairs = np.outer(counts, counts) - np.diag(counts)
        coincidences[i] = pairs / (len(row) - 1)
    scale = np.array(values)
    value = _alpha(coincidences.sum(0), scale, level)
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(len(said), np.full(len(said), 1 / len(said)), REPLICATES)
    replicates = [
        _alpha(np.tensordot(w.astype(float), coincidences, 1), scale, level) for w in weights
    ]
    low, high = _percentiles(replicates)
    return Agreement(name, value, low, high, len(said))


def cohen_kappa(pairs: Sequence[tuple[str, str]]) -> Agreement:
    """Kappa of two judges: what both said of each item."""
    from statsmodels.stats.inter_rater import cohens_kappa

    name = "Cohen's kappa"
    values = sorted({v for pair in pairs for v in pair})
    if len(values) < 2:
        return Agreement(name, None, None, None, len(pairs))
    table = np.zeros((len(values), len(values)))
    for first, second in pairs:
        table[values.index(first), values.index(second)] += 1
    with np.errstate(invalid="ignore", divide="ignore"):  # one who always says the same
        found = cohens_kappa(table)
    if not math.isfinite(found.kappa):
        return Agreement(name, None, None, None, len(pairs))
    low, high = float(found.kappa_low), float(found.kappa_upp)
    return Agreement(name, float(found.kappa), max(-1.0, low), min(1.0, high), len(pairs))


def share_agreeing(pairs: Sequence[tuple[str, str]]) -> Agreement:
    """The share of items on which two say the same, with Wilson's interval."""
    from statsmodels.stats.proportion import proportion_confint

    if not pairs:
        return Agreement("agreement", None, None, None, 0)
    same = sum(a == b for a, b in pairs)
    low, high = proportion_confint(same, len(pairs), method="wilson")
    return Agreement("agreement", same / len(pairs), float(low), float(high), len(pairs))


def _alpha(coincidences: Floats, values: Floats, level: Level) -> float | None:
    counts = coincidences.sum(1)
    total = counts.sum()
    if total <= 1:
        return None
    distances = _distances(counts, values, level)
    expected = (np.outer(counts, counts) - np.diag(counts)) / (total - 1)
    worst = float((expected * distances).sum())
    if worst == 0:
        return None
    return 1 - float((coincidences * distances).sum()) / worst


def _distances(counts: Floats, values: Floats, level: Level) -> Floats:
    """δ² between all values (V, V)."""
    if level == "nominal":
        return 1 - np.eye(len(values))
    if level == "interval":
        return np.asarray((values[:, None] - values[None, :]) ** 2, dtype=np.float64)
    # Ordinal: how many ratings lie between the two, half of each end counted.
    before = np.cumsum(counts) - counts / 2
    return np.asarray((before[:, None] - before[None, :]) ** 2, dtype=np.float64)


def _percentiles(replicates: Sequence[float | None]) -> tuple[float | None, float | None]:
    known = [r for r in replicates if r is not None]
    if len(known) < REPLICATES / 2:
        return None, None
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)
