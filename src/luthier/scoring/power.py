"""What a test split can show, before anything is run."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt

DISAGREEMENT = 0.4
POWER = 0.8
ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Power:
    """The smallest true difference between two techniques that a test finds in 80 % of cases.

    `pair` is for one comparison, `family` for the best of all planned techniques against the rest;
    both are shares of the range of the score. `for_three_points` is how many test examples it takes
    to find a difference of 0.03 in one comparison. Two techniques are taken to disagree on 40 % of
    the examples, as on the bundled tasks; where they disagree less, less is needed. Examples that
    come in groups count for less than their number.
    """

    test_examples: int
    pair: float
    family: float
    for_three_points: int


def power_of(test_examples: int, *, techniques: int) -> Power | None:
    """What so many test examples can show of so many techniques; None without examples."""
    if test_examples < 1:
        return None
    return Power(
        test_examples=test_examples,
        pair=smallest_difference(test_examples, techniques=2),
        family=smallest_difference(test_examples, techniques=max(2, techniques)),
        for_three_points=examples_for(0.03),
    )


def smallest_difference(test_examples: int, *, techniques: int) -> float:
    """The difference d with d = (c + q) sqrt((D - d²) / n): D disagreement, c the critical value, q
    the normal quantile of the power; 1 at most."""
    reach = _reach(techniques) ** 2 / test_examples
    return min(1.0, sqrt(reach * DISAGREEMENT / (1.0 + reach)))


def examples_for(difference: float, *, techniques: int = 2) -> int:
    """How many test examples it takes to find such a difference, to two digits."""
    needed = _reach(techniques) ** 2 * (DISAGREEMENT - difference**2) / difference**2
    unit: int = 10 ** max(0, len(str(ceil(needed))) - 2)
    return ceil(needed / unit) * unit


def _reach(techniques: int) -> float:
    """Critical value plus the quantile of the power, in standard errors of one difference.

    The best of several against the rest has the critical value of the studentized range.
    """
    from scipy.stats import norm, studentized_range

    if techniques == 2:
        critical = norm.isf(ALPHA / 2)
    else:
        critical = studentized_range.ppf(1.0 - ALPHA, techniques, 10_000) / sqrt(2.0)
    return float(critical + norm.ppf(POWER))
