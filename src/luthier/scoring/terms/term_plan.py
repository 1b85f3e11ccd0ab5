"""What a study of terms will take, and what it can show, before anything is answered or drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from luthier.scoring.terms.designs import Trial
from luthier.scoring.terms.effect_estimates import tells_pairs

POWER = 0.8
SPREAD = 0.5  # of a score of 0 or 1 that is 1 half of the time: the most there is


@dataclass(frozen=True, slots=True)
class TermPlan:
    """A study before it is done.

    **Fields**

    - `trials`: scores to take, of `units` examples, or pairs of request and seed.
    - `sheet`: pictures more, which are only shown.
    - `pairs`: whether effects of pairs of terms are told apart from all others.
    - `smallest`: the smallest effect, of scores from 0 to 1, that the study shows in four of five
      cases, after the correction over all terms and pairs.
    - `seconds`: roughly; None where the speed is not known.
    """

    design: str
    terms: int
    trials: int
    units: int
    sheet: int
    pairs: bool
    smallest: float
    seconds: float | None

    def to_json(self) -> dict[str, Any]:
        """The plan as plain values."""
        return {
            "design": self.design,
            "terms": self.terms,
            "trials": self.trials,
            "units": self.units,
            "sheet_pictures": self.sheet,
            "total": self.trials + self.sheet,
            "tells_pairs": self.pairs,
            "smallest_effect": round(self.smallest, 4),
            "seconds": None if self.seconds is None else round(self.seconds, 1),
        }


def plan_of(
    design: str, trials: Sequence[Trial], *, sheet: int = 0, seconds_each: float | None = None
) -> TermPlan:
    """The plan of these trials. `seconds_each` is what one answer takes."""
    terms = len(trials[0].shown)
    pairs = design == "factorial" and tells_pairs(trials)
    tested = terms + (terms * (terms - 1) // 2 if pairs else 0)
    count = len(trials) + sheet
    return TermPlan(
        design,
        terms,
        len(trials),
        len({trial.unit for trial in trials}),
        sheet,
        pairs,
        min(1.0, _smallest(design, len(trials), terms, tested)),
        None if seconds_each is None else count * seconds_each,
    )


def _smallest(design: str, trials: int, terms: int, tested: int) -> float:
    """Of a factorial design the error of an effect is 2 σ / √N; of the others that of the mean of
    N / (K + 1) differences, √2 σ / √(N / (K + 1))."""
    from scipy.stats import norm

    if design == "factorial":
        error = 2 * SPREAD / math.sqrt(trials)
    else:
        error = math.sqrt(2) * SPREAD / math.sqrt(max(1, trials / (terms + 1)))
    reach = norm.isf(0.025 / tested) + norm.isf(1 - POWER)
    return float(reach * error)
