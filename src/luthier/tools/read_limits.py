"""The limits of a response with tools, as a task file or the command line writes them.

Written are `steps`, `calls`, `seconds`, `call_seconds`, `tokens`, `money`, and for money `prices`:
of a million tokens read, and generated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.errors import UserError, did_you_mean
from luthier.tools.limits import ToolLimits

WHOLE = ("steps", "calls", "tokens")
NUMBERS = (*WHOLE, "seconds", "call_seconds", "money")
KEYS = (*NUMBERS, "prices")
HOW = "Write for instance tokens=4000,seconds=60 or money=0.02,prices=0.15/0.60."


def read_limits(values: Mapping[str, Any]) -> ToolLimits:
    """The limits that are named; the others are the usual ones. UserError, with the value, for what
    is none."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if key not in KEYS:
            raise UserError(
                f"there is no limit {key!r} of tools", choices=KEYS,
                next_step=did_you_mean(str(key), KEYS) or HOW,
            )  # fmt: skip
        found[key] = _prices(value) if key == "prices" else _number(key, value)
    return ToolLimits(**found)


def split_limits(text: str) -> dict[str, str]:
    """The keys and values of "tokens=4000,money=0.02"."""
    found = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        key, equals, value = part.partition("=")
        if not equals or not value.strip():
            raise UserError(f"{part!r} limits nothing", choices=KEYS, next_step=HOW)
        found[key.strip()] = value.strip()
    return found


def _number(key: str, value: Any) -> float | int:
    try:
        number = float(value)
        if isinstance(value, bool) or number != number or (key in WHOLE and number % 1):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        kind = "a whole number" if key in WHOLE else "a number"
        raise UserError(f"{key} is {value!r}, which is not {kind}", next_step=HOW) from None
    return int(number) if key in WHOLE else number


def _prices(value: Any) -> tuple[float, float]:
    parts = value.split("/") if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)) or len(parts) != 2:
        raise UserError(
            f"prices is {value!r}",
            next_step="Give the prices of a million tokens read and generated: prices=0.15/0.60.",
        )
    read, written = (float(_number("prices", part)) for part in parts)
    return read, written
