"""Which terms are shown in which trial.

A trial shows some of K terms to one unit. A unit is what trials share, so that their scores can be
compared: an example of a task, and for pictures a seed as well. Three designs:

- *leave one out*: every unit sees all terms, and all but each one.
- *factorial*: two levels for each term, after Box and Hunter (1961): no main effect, and where the
  budget allows no effect of a pair, is mixed up with another of them. Every trial tells about every
  term, so that it takes far fewer trials than leaving one out.
- *permutations*: terms come one by one in a random order (Castro, Gómez and Tejada 2009,
  doi:10.1016/j.cor.2008.04.004); the mean gain of a term over all orders is its Shapley value.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Levels = npt.NDArray[np.int8]  # (runs, K) of −1 and 1

LARGEST = 12  # factors of two of the largest factorial design that is searched for


@dataclass(frozen=True, slots=True)
class Trial:
    """One score to take: which terms are shown, to which unit. `order` is the number of the
    permutation that it belongs to, −1 for other designs."""

    shown: tuple[bool, ...]
    unit: int
    order: int = -1


def leave_one_out(terms: int, units: Sequence[int]) -> list[Trial]:
    """(K + 1) trials for each unit."""
    everything = (True,) * terms
    masks = [everything]
    masks += [tuple(j != i for j in range(terms)) for i in range(terms)]
    return [Trial(mask, unit) for unit in units for mask in masks]


def permutations(terms: int, units: Sequence[int], *, seed: int = 0) -> list[Trial]:
    """One random order for each unit, (K + 1) trials each."""
    rng = np.random.default_rng(seed)
    trials = []
    for order, unit in enumerate(units):
        shown = np.zeros(terms, bool)
        trials.append(Trial(tuple(shown.tolist()), unit, order))
        for term in rng.permutation(terms):
            shown[term] = True
            trials.append(Trial(tuple(shown.tolist()), unit, order))
    return trials


def factorial(terms: int, units: Sequence[int], budget: int, *, seed: int = 0) -> list[Trial]:
    """At most `budget` trials, each unit with as equal a share of them as can be.

    The design tells pairs apart from each other and from single terms where `budget` allows such a
    one twice; else it keeps single terms clear of pairs; else of each other only.

    ValueError where the budget is smaller than the smallest design.
    """
    levels = _levels(terms, budget // 2)
    if levels is None:
        levels = _levels(terms, budget)
    if levels is None:
        raise ValueError(f"{terms} terms take at least {smallest(terms)} trials, not {budget}")
    rng = np.random.default_rng(seed)
    repeats = max(1, budget // len(levels))
    # Complementary runs stand side by side and go to the same unit: their difference is free of
    # what the unit adds, whatever its other runs are.
    order = _with_complements(levels)
    runs = np.concatenate([order[rng.permutation(len(order))].reshape(-1, 2, terms)
                           for _ in range(repeats)])  # fmt: skip
    each = itertools.cycle(rng.permutation(list(units)).tolist())
    return [
        Trial(tuple((row > 0).tolist()), unit)
        for pair, unit in zip(runs, each, strict=False)
        for row in pair
    ]


def smallest(terms: int) -> int:
    """Trials of the smallest factorial design for so many terms."""
    factors, _ = _main_columns(terms)
    return 1 << factors


def _with_complements(levels: Levels) -> Levels:
    """The runs as pairs that differ in as many terms as can be, (runs / 2, 2, K)."""
    left = list(range(len(levels)))
    pairs = []
    while left:
        first = left.pop(0)
        apart = [int((levels[first] != levels[j]).sum()) for j in left]
        second = left.pop(int(np.argmax(apart)))
        pairs.append(np.stack([levels[first], levels[second]]))
    return np.stack(pairs)


def _levels(terms: int, budget: int) -> Levels | None:
    """The best two-level design of at most `budget` runs."""
    for columns in (_pair_columns, _fold_columns, _main_columns):
        factors, chosen = columns(terms)
        if 2**factors <= budget:
            return _from_columns(factors, chosen)
    return None


def _from_columns(factors: int, chosen: Sequence[int]) -> Levels:
    """Column c of a run is the parity of the run's number and c, over `factors` bits."""
    runs = np.arange(2**factors)
    parity = np.array([[bin(int(run) & c).count("1") % 2 for c in chosen] for run in runs])
    levels: Levels = (1 - 2 * parity).astype(np.int8)
    return levels


def _pair_columns(terms: int) -> tuple[int, list[int]]:
    """Columns whose sums of two are all different and are none of them: resolution V."""
    for factors in range(1, LARGEST + 1):
        chosen: list[int] = []
        taken: set[int] = {0}
        for c in sorted(range(1, 2**factors), key=lambda c: (bin(c).count("1") != 1, c)):
            new = {c, *(c ^ other for other in chosen)}
            if len(new) == len(chosen) + 1 and not new & taken:
                chosen.append(c)
                taken |= new
            if len(chosen) == terms:
                return factors, chosen
    raise ValueError(f"{terms} terms are too many for a design of pairs")


def _fold_columns(terms: int) -> tuple[int, list[int]]:
    """Columns of an odd number of bits: no sum of two is one of them (resolution IV)."""
    factors = next(f for f in range(1, LARGEST + 8) if 2 ** (f - 1) >= terms)
    odd = [c for c in range(1, 2**factors) if bin(c).count("1") % 2]
    return factors, odd[:terms]


def _main_columns(terms: int) -> tuple[int, list[int]]:
    """Any different columns (resolution III)."""
    factors = next(f for f in range(1, LARGEST + 8) if 2**f > terms)
    return factors, list(range(1, 2**factors))[:terms]
