"""Making the plan: equal budgets, and an estimate for each technique.

Every fit of every technique may spend the same number of forward-token equivalents. Where the user
gave minutes, the time for testing is set aside first, and the rest is shared out at `FIT_SPEED` of
the measured speed: the forward speed is that of full batches, and a fit has slower stretches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil, floor, log10
from typing import TYPE_CHECKING

from luthier.compare.estimate import (
    BATCH,
    FIT_SPEED,
    Workload,
    estimate,
    measure_workload,
    testing_tokens,
)
from luthier.compare.options import Options
from luthier.compare.plan import UNDERTRAINED_BELOW, Plan, PlannedTechnique
from luthier.compare.request import ComparisonRequest
from luthier.compare.running.run_keys import plain_settings, slug
from luthier.errors import BudgetError
from luthier.records import Budget
from luthier.scoring.power import power_of
from luthier.techniques.base import unmet_by_model, unmet_by_task

if TYPE_CHECKING:
    from luthier.techniques.base import Technique

CAP_FACTOR = 1.5
ENOUGH = UNDERTRAINED_BELOW
LEAST_BATCHES = 4  # a fit needs the tokens of at least so many training batches


def make_plan(request: ComparisonRequest) -> Plan:
    """Share out the budget and estimate. BudgetError where the budget allows no fit."""
    from luthier.compare.costs.speed import tokens_per_second

    task, model, options = request.task, request.model, request.options
    price = request.prices.of(model.backend.name, remote=model.backend.facts.remote)
    speed = tokens_per_second(model, task)
    workload = measure_workload(task, model, options.limit)
    techniques = _with_distinct_names(
        [_planned(technique, request) for technique in request.techniques]
    )
    to_run = [planned for planned in techniques if planned.skip_reason is None]
    fits = sum(len(planned.seeds) for planned in to_run if planned.footprint.tunes)
    testing = sum(
        len(planned.seeds) * testing_tokens(planned, workload, model) for planned in to_run
    )
    each = _fit_budget(request.budget, workload, speed=speed, testing=testing, fits=fits)

    def with_estimate(planned: PlannedTechnique) -> PlannedTechnique:
        if planned.skip_reason is not None:
            return planned
        planned = replace(planned, budget_tokens=each)
        expected = estimate(planned, workload, model, speed=speed, price=price)
        passes = None if each is None else by_name[planned.name].passes(model, task, each)
        epochs = None if passes is None else round(passes, 2)
        return replace(planned, estimate=replace(expected, epochs=epochs))

    by_name = dict(zip([p.name for p in techniques], request.techniques, strict=True))
    planned_techniques = tuple(with_estimate(planned) for planned in techniques)
    warning = undertrained_warning(planned_techniques, each, fits)
    return Plan(
        techniques=planned_techniques,
        warnings=() if warning is None else (warning,),
        seeds=request.seeds,
        budget_minutes=request.budget.minutes,
        budget_tokens=request.budget.tokens,
        hard_cap_seconds=hard_cap(request.budget, options),
        tokens_per_second=speed,
        test_examples=workload.test_examples,
        curve=options.curve,
        limit=options.limit,
        seed=options.seed,
        currency=request.prices.currency,
        billed=price.by_token,
        tolerance=options.tolerance,
        power=power_of(workload.test_examples, techniques=len(to_run)),
    )


def undertrained_warning(
    techniques: Sequence[PlannedTechnique], each: int | None, fits: int
) -> str | None:
    """In words, which techniques would see their training examples fewer than three times, and the
    budget that buys three passes; None where there are none. `each` is the budget of one of `fits`.
    """
    few = [(p.name, e) for p in techniques if (e := p.estimate.epochs) is not None and e < ENOUGH]
    if not few or each is None:
        return None
    names = ", ".join(f"{name} {passes:.1f} times" for name, passes in few)
    least = min(passes for _, passes in few)
    words = f"This budget lets a fit see the training examples less than {ENOUGH} times: {names}."
    if least <= 0:
        return words
    total = _two_digits_up(each * ENOUGH / least) * fits
    return (
        f"{words} Such a fit says little about its technique. --budget {total // 1000 + 1}ktok "
        f"buys {ENOUGH} passes."
    )


def hard_cap(budget: Budget, options: Options) -> float | None:
    """The time limit in seconds; None where the budget is in tokens and no limit was given."""
    if options.hard_cap_minutes is not None:
        return options.hard_cap_minutes * 60
    return None if budget.minutes is None else budget.minutes * 60 * CAP_FACTOR


def _planned(technique: Technique, request: ComparisonRequest) -> PlannedTechnique:
    """A technique in the plan, without budget and estimate."""
    from luthier.techniques.spelling import spell

    name, first = spell(technique), request.options.seed
    unmet = unmet_by_model(technique, request.model) or unmet_by_task(technique, request.task)
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
    )


def _with_distinct_names(techniques: Sequence[PlannedTechnique]) -> list[PlannedTechnique]:
    """Techniques of one name get different names and folders: "lora", "lora 2"."""
    counts: dict[str, int] = {}
    distinct = []
    for planned in techniques:
        count = counts[planned.name] = counts.get(planned.name, 0) + 1
        if count > 1:
            name = f"{planned.name} {count}"
            planned = replace(planned, name=name, slug=slug(name))
        distinct.append(planned)
    return distinct


def _fit_budget(
    budget: Budget, workload: Workload, *, speed: float | None, testing: float, fits: int
) -> int | None:
    """The tuning budget of one fit in forward-token equivalents, rounded down to two digits.

    `testing` is how many forward tokens all tests together take; `fits` is the number of fits that
    share the budget. None: no limit. BudgetError where the share is less than a fit needs.
    """
    if fits == 0:
        return None
    least = _least_fit_tokens(workload)
    if budget.tokens is not None:
        each = budget.tokens / fits
        least_total = ceil(fits * least)
        least_words = f"{least_total:,} tokens (--budget {least_total}tok)"
    elif speed is None or budget.minutes is None:
        return None
    else:
        left = budget.minutes * 60 * FIT_SPEED - testing / speed
        each = left * speed / fits
        seconds = (testing + fits * least) / speed / FIT_SPEED
        least_words = f"about {max(1, round(seconds))} seconds"
    if each < least:
        given = (
            f"{budget.tokens:,} tokens" if budget.tokens is not None
            else f"{(budget.minutes or 0) * 60:g} seconds"
        )  # fmt: skip
        raise BudgetError(
            f"A budget of {given} is too small for {fits} run{'s' * (fits != 1)} "
            f"on {workload.test_examples} test examples: it takes at least {least_words}",
            next_step="Give a larger --budget, fewer --techniques or --seeds, or a --limit on the "
            "test examples.",
        )
    return _two_digits(each)


def _least_fit_tokens(workload: Workload) -> float:
    return LEAST_BATCHES * BATCH * 2 * workload.example


def _two_digits_up(value: float) -> int:
    unit = 10 ** max(0, floor(log10(value)) - 1)
    return int(ceil(value / unit) * unit)


def _two_digits(value: float) -> int:
    """Rounded down, so that a speed measured a little differently mostly gives the same budget."""
    unit = 10 ** max(0, floor(log10(value)) - 1)
    return int(value // unit * unit)
