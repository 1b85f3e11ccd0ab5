"""The budget of a comparison, as a user types it."""

from __future__ import annotations

import re

from luthier.errors import BudgetError
from luthier.records import Budget

DEFAULT_BUDGET = Budget(minutes=10.0)
NOT_GIVEN = Budget()  # the plan chooses
LEAST_SECONDS = 2.0

_MINUTES = {"s": 1 / 60, "m": 1.0, "h": 60.0}
_SCALES = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}
_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h)(?:ec|in|ours?|r|inutes?|econds?)?")
_TOKENS = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]?)\s*tok(?:ens?)?")


def parse_budget(budget: str | Budget | None) -> Budget:
    """The budget for a whole comparison: "20m", "90s", "1h", or in tokens "5Mtok".

    None, and a `Budget` without any limit, leave the choice to the plan. BudgetError for any
    other text, and for a budget that is too small for any work.
    """
    if budget is None:
        return NOT_GIVEN
    parsed = budget if isinstance(budget, Budget) else _read(budget)
    if parsed.tokens is None and parsed.minutes is None:
        return NOT_GIVEN
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


def budget_words(tokens: int) -> str:
    """A number of tokens, rounded up, as `--budget` takes it: "3301ktok"."""
    return f"{-(-tokens // 1000)}ktok"


def _read(text: str) -> Budget:
    plain = text.strip().lower()
    if time := _TIME.fullmatch(plain):
        return Budget(minutes=float(time[1]) * _MINUTES[time[2]])
    if tokens := _TOKENS.fullmatch(plain):
        return Budget(tokens=int(float(tokens[1]) * _SCALES[tokens[2]]))
    raise BudgetError(
        f"Cannot read the budget {text!r}",
        choices=("90s", "20m", "1h", "500ktok", "5Mtok"),
        next_step="Give a number and a unit: seconds, minutes or hours, or tokens.",
    )
