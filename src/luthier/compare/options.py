"""What a comparison may be told beyond task, model and techniques; and who hears how it goes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from luthier.compare.comparison import Run
from luthier.compare.plan import Plan
from luthier.errors import BudgetError, TaskError
from luthier.records import Budget

DEFAULT_BUDGET = Budget(minutes=10.0)
LEAST_SECONDS = 2.0
CURVE = (0.25, 0.5)

_UNITS = {"s": 1 / 60, "m": 1.0, "h": 60.0}
_SCALES = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}
_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h)(?:ec|in|ours?|r|inutes?|econds?)?")
_TOKENS = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]?)\s*tok(?:ens?)?")


@dataclass(frozen=True, slots=True)
class RunProgress:
    """How far things are. `fraction` (0 to 1) is of the current run, `seconds_left` of everything
    that is left, None while it cannot be told."""

    technique: str
    seed: int
    run: int
    runs: int
    fraction: float
    message: str = ""
    seconds_left: float | None = None


class Listener(Protocol):
    """Hears how a comparison goes. Everything is called from the thread that compares."""

    def planned(self, plan: Plan, folder: Path) -> None:
        """Before anything runs; may raise to call it off."""
        ...

    def progressed(self, progress: RunProgress) -> None:
        """Often; must be cheap."""
        ...

    def ended(self, technique: str, run: Run, *, kept: bool) -> None:
        """A run ended; `kept` says that it was found finished in the ledger."""
        ...


class Silent:
    """A listener that does nothing."""

    def planned(self, plan: Plan, folder: Path) -> None:
        """Nothing."""

    def progressed(self, progress: RunProgress) -> None:
        """Nothing."""

    def ended(self, technique: str, run: Run, *, kept: bool) -> None:
        """Nothing."""


@dataclass(frozen=True, slots=True)
class Options:
    """The rest of what `compare` may be told.

    `curve`: also fit on these shares of the training examples. `limit`: score only so many test
    examples. `prices`: a price book instead of the one that ships. `seed`: the first seed; the
    others follow it. `hard_cap_minutes`: after so much time what is left is "stopped" (1.5 times
    the budget unless given). `plan_only`: make the plan, run nothing.
    """

    curve: tuple[float, ...] = ()
    limit: int | None = None
    prices: str | Path | None = None
    seed: int = 0
    hard_cap_minutes: float | None = None
    plan_only: bool = False
    listener: Listener = field(default_factory=Silent)

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise TaskError(
                f"limit={self.limit} leaves no test example", next_step="Give 1 or more."
            )
        for share in self.curve:
            if not 0.0 < share < 1.0:
                raise TaskError(
                    f"A learning curve cannot have a point at {share}",
                    next_step="Give shares between 0 and 1; the whole is there anyway.",
                )


def parse_budget(budget: str | Budget | None) -> Budget:
    """A budget from what a user types: "20m", "90s", "1h", or in tokens: "5Mtok".

    It is for the whole comparison. Raises BudgetError for anything else, and for what is too small
    for anything.
    """
    if budget is None:
        return DEFAULT_BUDGET
    parsed = budget if isinstance(budget, Budget) else _read(budget)
    if parsed.tokens is None and parsed.minutes is None:
        return DEFAULT_BUDGET
    if parsed.tokens is not None and parsed.tokens < 1:
        raise BudgetError(
            f"A budget of {parsed.tokens} tokens is too small for anything",
            next_step="Give some thousand tokens, for instance 5Mtok, or a time such as 10m.",
        )
    if parsed.minutes is not None and not parsed.minutes * 60 >= LEAST_SECONDS:
        raise BudgetError(
            f"A budget of {parsed.minutes * 60:g} seconds is too small for anything",
            next_step="Give some minutes, for instance --budget 10m.",
        )
    return parsed


def _read(text: str) -> Budget:
    plain = text.strip().lower()
    if found := _TIME.fullmatch(plain):
        return Budget(minutes=float(found[1]) * _UNITS[found[2]])
    if found := _TOKENS.fullmatch(plain):
        return Budget(tokens=int(float(found[1]) * _SCALES[found[2]]))
    raise BudgetError(
        f"Cannot read the budget {text!r}",
        choices=("90s", "20m", "1h", "500ktok", "5Mtok"),
        next_step="Give a number and a unit: seconds, minutes or hours, or tokens.",
    )
