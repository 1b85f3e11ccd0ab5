"""What a comparison is going to do, written down before anything runs and stored in the ledger.

A comparison that is resumed reads its plan from the ledger instead of making a new one, so that the
token budgets, and with them the results, do not depend on how busy the machine is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from luthier.probe.probe_advice import Advice
from luthier.scoring.power import Power
from luthier.techniques.base import ENOUGH_PASSES, Footprint

UNDERTRAINED_BELOW = ENOUGH_PASSES

Status = Literal["finished", "failed", "skipped", "stopped", "planned"]
TOLERANCE = 3.0  # points


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one technique is expected to take, over all its seeds. None: unknown beforehand.

    `tokens` counts forward-token equivalents (see `records.Budget`) of tuning and testing; `money`
    is in the currency of the price book; `peak_memory_bytes` is that of the whole process. `epochs`
    counts the passes of one fit over the training examples, for techniques that train.
    """

    tokens: int | None = None
    seconds: float | None = None
    peak_memory_bytes: int | None = None
    money: float | None = None
    epochs: float | None = None


@dataclass(frozen=True, slots=True)
class PlannedTechnique:
    """One technique in the plan. `budget_tokens` is the tuning budget of one seed (None: no limit).

    `name` is how the user wrote it ("lora", "few-shot -> lora"), `slug` its folder in the run
    folder. `skip_reason` says in words why it will not run; None when it will. `seeded`: a fit
    depends on its seed. `base` is the base it starts from; where there are several, `name` ends in
    it ("lora on nano").
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
    seeded: bool = False
    base: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of a whole comparison.

    `budget_minutes` or `budget_tokens` is what the user gave for everything. `hard_cap_seconds` is
    wall time; what has not run by then is "stopped". `tokens_per_second` is the measured forward
    speed, None where it could not be measured; of several bases (`speeds`) it is that at which the
    fits on them go, all together. `curve` holds the shares of the training examples
    for the learning curve, `limit` how many test examples are scored (None: all). `billed`: a
    provider charges for tokens. `warnings` are sentences that a user should read before it runs.
    `tolerance` is how far the pick may be below the best, in points (see `Options`); `power` what
    the test split can show. `enough_tokens` is the budget for everything with which every fit sees
    its training examples three times; None where nothing trains or that is not known. `advice` was
    made before anything was fitted; None where it was not asked for.
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
    warnings: tuple[str, ...] = ()
    tolerance: float = TOLERANCE
    power: Power | None = None
    speeds: Mapping[str, float | None] = field(default_factory=dict)
    enough_tokens: int | None = None
    advice: Advice | None = None

    @property
    def to_run(self) -> tuple[PlannedTechnique, ...]:
        """The techniques that are not skipped, in the order in which they run: with an advice the
        likely winners come first."""
        found = [planned for planned in self.techniques if planned.skip_reason is None]
        advice = self.advice
        if advice is not None:
            found.sort(key=lambda planned: advice.place(planned.name))
        return tuple(found)

    @property
    def seconds(self) -> float | None:
        """The estimated time of all techniques; None where that of one is unknown."""
        return _sum([planned.estimate.seconds for planned in self.to_run])

    @property
    def money(self) -> float | None:
        """The estimated money for all techniques; None where that for one is unknown."""
        return _sum([planned.estimate.money for planned in self.to_run])

    @property
    def tuning_tokens(self) -> int | None:
        """The budget in tokens that makes this same plan; None where fits have no limit."""
        tuned = [planned for planned in self.to_run if planned.footprint.tunes]
        budgets = [planned.budget_tokens for planned in tuned for _ in planned.seeds]
        known = [tokens for tokens in budgets if tokens is not None]
        return sum(known) if known and len(known) == len(budgets) else None


def _sum(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
