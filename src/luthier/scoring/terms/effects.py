"""What a term does to a score."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Effect:
    """The score with a term less the score without it.

    `low` and `high` are its 95 % interval, `p` that of this term alone, `p_adjusted` Holm's over
    all terms and pairs of the study. `acts`: p_adjusted is below 0.05.
    """

    term: int
    value: float
    low: float
    high: float
    p: float
    p_adjusted: float

    @property
    def acts(self) -> bool:
        """Whether the term is shown to act."""
        return self.p_adjusted < 0.05

    @property
    def at_most(self) -> float:
        """The largest effect, either way, that the interval leaves open."""
        return max(abs(self.low), abs(self.high))


@dataclass(frozen=True, slots=True)
class PairEffect:
    """How two terms act together: the score with both, less that with each one, plus that with
    neither. 0: each does what it does alone."""

    first: int
    second: int
    value: float
    low: float
    high: float
    p: float
    p_adjusted: float

    @property
    def acts(self) -> bool:
        """Whether the two are shown to act otherwise together than apart."""
        return self.p_adjusted < 0.05


@dataclass(frozen=True, slots=True)
class TermEffects:
    """The effects of all terms, in the order of the terms, and of pairs where the design tells them
    apart (none else). `trials` scores were taken, of `units` units; `design` is its name."""

    design: str
    effects: tuple[Effect, ...]
    pairs: tuple[PairEffect, ...]
    trials: int
    units: int
