"""How far a response may go with its tools."""

from __future__ import annotations

from dataclasses import dataclass

from luthier.content import Usage
from luthier.errors import UserError

MOST_STEPS = 8  # generations of one response that calls tools


@dataclass(frozen=True, slots=True)
class ToolLimits:
    """What one response with tools may take.

    **Fields**

    - `steps`: generations. The calls of the last one are returned and not run.
    - `calls`: calls of all steps together.
    - `seconds`: for everything; `call_seconds`: for one call.
    - `tokens`: read and generated, of all steps. None: no limit.
    - `money`: for those tokens, at `prices` (for a million tokens read, and generated).
    - `result_characters`: a longer result is cut.
    - `repeats`: how often one call with the same arguments is run.
    - `at_once`: how many calls of one step run side by side.
    """

    steps: int = MOST_STEPS
    calls: int = 32
    seconds: float = 300.0
    call_seconds: float = 30.0
    tokens: int | None = None
    money: float | None = None
    prices: tuple[float, float] | None = None
    result_characters: int = 8_000
    repeats: int = 5
    at_once: int = 8

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UserError(f"max_steps is {self.steps}", next_step="Give at least 1.")
        for name in ("calls", "repeats", "at_once", "result_characters"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}", next_step="Give at least 1.")
        for name in ("seconds", "call_seconds", "tokens", "money"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(f"{name} is {value}", next_step="Give a number above 0.")
        if self.money is not None and self.prices is None:
            raise UserError(
                "money is limited, and nobody said what tokens cost",
                next_step="Give the prices of a million tokens read and generated.",
            )

    def exceeded(self, usage: Usage, seconds: float) -> str:
        """In words, which limit of the whole response is reached; "" where none is."""
        if seconds >= self.seconds:
            return f"{self.seconds:g} seconds have passed"
        tokens = usage.prompt_tokens + usage.generated_tokens
        if self.tokens is not None and tokens >= self.tokens:
            return f"{tokens:,} of {self.tokens:,} tokens are used"
        if self.money is not None and self.prices is not None:
            read, written = self.prices
            spent = (usage.prompt_tokens * read + usage.generated_tokens * written) / 1e6
            if spent >= self.money:
                return f"{spent:.4f} of {self.money:g} is spent"
        return ""
