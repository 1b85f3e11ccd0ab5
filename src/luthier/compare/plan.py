"""What a comparison is going to do: written down before anything runs, and kept in the ledger.

A resumed comparison reads its plan back instead of making a new one, so that token budgets, and
with them the results, are the same whatever the machine was doing meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from luthier.techniques.base import Footprint

Status = Literal["finished", "failed", "skipped", "stopped", "planned"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one technique is expected to cost, over all its seeds. None: cannot be told before.

    `tokens` counts forward-token equivalents (see `records.Budget`) of tuning and testing; `money`
    is in the currency of the price book. `peak_memory_bytes` is of the whole process.
    """

    tokens: int | None = None
    seconds: float | None = None
    peak_memory_bytes: int | None = None
    money: float | None = None


@dataclass(frozen=True, slots=True)
class PlannedTechnique:
    """One line of the plan. `budget_tokens` is the tuning budget of one seed (None: no limit).

    `name` is how the user wrote it ("lora", "few-shot -> lora"), `slug` its folder in the run
    folder. `skip_reason` says in words why it will not run; None when it will.
    """

    name: str
    slug: str
    family: str
    trained: bool
    settings: Mapping[str, Any]
    seeds: tuple[int, ...]
    budget_tokens: int | None
    estimate: Estimate = field(default_factory=Estimate)
    footprint: Footprint = field(default_factory=Footprint)
    skip_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole of it. `budget_minutes` or `budget_tokens` is what the user gave for everything.

    `hard_cap_seconds` is wall time; what has not run by then is "stopped". `tokens_per_second` is
    the measured forward speed, None where it could not be measured. `curve` are the shares of the
    training examples that a learning curve was asked for. `billed`: tokens are paid for one by one.
    """

    techniques: tuple[PlannedTechnique, ...]
    seeds: int
    budget_minutes: float | None
    budget_tokens: int | None
    hard_cap_seconds: float | None
    tokens_per_second: float | None
    test_examples: int
    curve: tuple[float, ...] = ()
    limit: int | None = None
    seed: int = 0
    currency: str = "USD"
    billed: bool = False

    @property
    def seconds(self) -> float | None:
        """The estimate for everything; None where a part of it cannot be told."""
        parts = [t.estimate.seconds for t in self.techniques if t.skip_reason is None]
        return None if None in parts else sum(p for p in parts if p is not None)

    @property
    def tuning_tokens(self) -> int | None:
        """The budget in tokens that makes this same plan; None where fits have no limit."""
        fits = [
            t.budget_tokens if t.budget_tokens is None else t.budget_tokens * len(t.seeds)
            for t in self.techniques
            if t.skip_reason is None and t.footprint.tunes
        ]
        known = [tokens for tokens in fits if tokens is not None]
        return sum(known) if known and len(known) == len(fits) else None

    @property
    def money(self) -> float | None:
        """The estimate for everything; None where a part of it cannot be told."""
        parts = [t.estimate.money for t in self.techniques if t.skip_reason is None]
        return None if None in parts else sum(p for p in parts if p is not None)
