"""What is known of a base and its techniques before the budget of a comparison is shared out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, floor, log10
from typing import TYPE_CHECKING

from luthier.compare.bases import Base, row_name
from luthier.compare.costs import Price
from luthier.compare.estimate import Workload, measure_workload, test_speed, testing_tokens
from luthier.compare.plan import PlannedTechnique
from luthier.compare.request import ComparisonRequest
from luthier.compare.running.run_keys import plain_settings, slug
from luthier.techniques.base import unmet_by_model, unmet_by_task

if TYPE_CHECKING:
    from luthier.models.model import Model
    from luthier.task.task import Task
    from luthier.techniques.base import Technique

FIRST_GUESS, GUESSES = 50_000, 3  # of the tokens for three passes: dev takes a share of them
MARGIN = 1.25  # fits came 4 to 17 % short of the passes that were planned for them


@dataclass(frozen=True, slots=True)
class MeasuredBase:
    """A base with what a request takes, its speed in forward tokens a second (None: unknown), its
    price, and its techniques without budgets. `testing` counts the forward tokens of all tests,
    which go at `test_speed` of that speed; `enough` is the budget of a fit that makes the passes
    which are enough for each technique, where it is known.
    """

    base: Base
    workload: Workload
    speed: float | None
    price: Price
    techniques: tuple[PlannedTechnique, ...]
    testing: float
    test_speed: float
    enough: int | None

    @property
    def to_run(self) -> list[PlannedTechnique]:
        """The techniques that are not skipped."""
        return [planned for planned in self.techniques if planned.skip_reason is None]

    @property
    def fits(self) -> int:
        """How many fits share the budget."""
        return sum(len(planned.seeds) for planned in self.to_run if planned.footprint.tunes)

    @property
    def seconds_a_token(self) -> float | None:
        """What a token of tuning takes in all its fits together; None with unknown speed."""
        tuned = [planned for planned in self.to_run if planned.footprint.tunes]
        shares = sum(len(planned.seeds) / planned.footprint.fit_speed for planned in tuned)
        return shares / self.speed if self.speed else None


def measure_base(base: Base, request: ComparisonRequest) -> MeasuredBase:
    """Open a base, and measure what a request takes and how fast it is."""
    from luthier.compare.costs.speed import tokens_per_second

    task, model = request.task, request.bases.model(base.name)
    workload = measure_workload(task, model, request.options.limit)
    techniques = _with_distinct_names(
        [_planned(technique, base, model, request) for technique in base.techniques],
        None if len(request.bases) == 1 else base.name,
    )
    pairs = zip(techniques, base.techniques, strict=True)
    return MeasuredBase(
        base=base,
        workload=workload,
        speed=tokens_per_second(model, task),
        price=request.prices.of(base.facts.name, remote=base.facts.facts.remote),
        techniques=techniques,
        testing=sum(
            len(planned.seeds) * testing_tokens(planned, workload, model)
            for planned in techniques
            if planned.skip_reason is None
        ),
        test_speed=test_speed(model),
        enough=enough_for_a_fit(model, task, [t for p, t in pairs if p.skip_reason is None]),
    )


def common_speed(parts: Sequence[MeasuredBase]) -> float | None:
    """The tokens a second of the fits on all bases together; None where one speed is unknown."""
    fits = [(part.fits or 1, part.speed) for part in parts]
    if any(not speed for _, speed in fits):
        return None
    return sum(n for n, _ in fits) / sum(n / (speed or 1.0) for n, speed in fits)


def seconds_of(parts: Sequence[MeasuredBase], each: float) -> float | None:
    """What all fits with a budget of `each` tokens, and all tests, take; None where one speed is
    unknown."""
    per_token = [part.seconds_a_token for part in parts]
    if any(seconds is None for seconds in per_token):
        return None
    return each * sum(seconds or 0.0 for seconds in per_token) + testing_seconds(parts)


def testing_seconds(parts: Sequence[MeasuredBase]) -> float:
    """What all tests take."""
    return sum(part.testing / part.test_speed / (part.speed or 1.0) for part in parts)


def enough_for_a_fit(model: Model, task: Task, techniques: Sequence[Technique]) -> int | None:
    """The budget of a fit with which each of these makes the passes that are enough for it, three
    as a rule; None where none trains, or where it cannot be said beforehand."""
    found = [_enough(technique, model, task) for technique in techniques]
    return max((tokens for tokens in found if tokens is not None), default=None)


def _enough(technique: Technique, model: Model, task: Task) -> int | None:
    tokens, enough = FIRST_GUESS, technique.enough_passes(task)
    for _ in range(GUESSES):
        passes = technique.passes(model, task, tokens)
        if not passes:
            return None
        tokens = ceil(tokens * enough / passes)
    tokens = _two_digits_up(MARGIN * tokens)
    for _ in range(GUESSES):  # a few tokens more may begin a search, which takes passes
        passes = technique.passes(model, task, tokens)
        if passes and passes < enough:
            tokens = _two_digits_up(MARGIN * tokens * enough / passes)
    return tokens


def _planned(
    technique: Technique, base: Base, model: Model, request: ComparisonRequest
) -> PlannedTechnique:
    """A technique in the plan, without budget and estimate."""
    from luthier.techniques.spelling import spell

    name, first = spell(technique), request.options.seed
    unmet = unmet_by_model(technique, model) or unmet_by_task(technique, request.task)
    return PlannedTechnique(
        name=name,
        slug=slug(name),
        family=technique.family,
        trained=technique.trained,
        seeded=technique.seeded,
        settings=plain_settings(technique),
        seeds=tuple(range(first, first + (request.seeds if technique.seeded else 1))),
        budget_tokens=None,
        footprint=technique.footprint,
        skip_reason=unmet,
        base=base.name,
    )


def _with_distinct_names(
    techniques: Sequence[PlannedTechnique], base: str | None
) -> tuple[PlannedTechnique, ...]:
    """Techniques of one name get different names and folders: "lora", "lora 2". With a `base` the
    names end in it: "lora on nano"."""
    counts: dict[str, int] = {}
    distinct = []
    for planned in techniques:
        name = planned.name
        count = counts[name] = counts.get(name, 0) + 1
        name = f"{name} {count}" if count > 1 else name
        name = name if base is None else row_name(name, base)
        distinct.append(replace(planned, name=name, slug=slug(name)))
    return tuple(distinct)


def _two_digits_up(value: float) -> int:
    unit = 10 ** max(0, floor(log10(value)) - 1)
    return int(ceil(value / unit) * unit)
