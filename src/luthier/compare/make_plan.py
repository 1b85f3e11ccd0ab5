"""Making the plan: equal budgets, and an estimate for each technique.

Every fit of every technique may spend the same number of forward-token equivalents. Where the user
gave minutes, the time for testing is set aside first, and the rest is shared out at that part of
the measured speed that each technique reaches (`Footprint.fit_speed`). Where the user gave nothing,
every fit gets what sees the training examples three times, unless that takes longer than
`LONGEST_DEFAULT`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil, floor, log10

from luthier.compare.estimate import Workload, estimate, machine_memory
from luthier.compare.measure_base import (
    MeasuredBase,
    common_speed,
    measure_base,
    seconds_of,
    testing_seconds,
)
from luthier.compare.options import Options
from luthier.compare.parse_budget import DEFAULT_BUDGET, budget_words
from luthier.compare.plan import UNDERTRAINED_BELOW, Plan, PlannedTechnique
from luthier.compare.request import ComparisonRequest
from luthier.errors import BudgetError
from luthier.records import Budget
from luthier.scoring.power import power_of

CAP_FACTOR = 1.5
ENOUGH = UNDERTRAINED_BELOW
LONGEST_DEFAULT = 3600.0  # seconds that a comparison takes unasked
LEAST_ROWS = 16  # a fit needs the tokens to train on so many at least: four steps of four


def make_plan(request: ComparisonRequest) -> Plan:
    """Share out the budget and estimate. BudgetError where the budget allows no fit."""
    options = request.options
    parts = [measure_base(base, request) for base in request.bases]
    budget = _given_or_default(request.budget, parts)
    each = _fit_budget(budget, parts, given=budget == request.budget)
    planned_techniques = tuple(
        planned for part in parts for planned in _with_estimates(part, request, each)
    )
    fits, enough = _fits(parts), _enough(parts)
    enough_tokens = None if enough is None else enough * fits
    warnings = (
        undertrained_warning(planned_techniques, enough_tokens),
        memory_warning(planned_techniques, machine_memory()),
    )
    test_examples = parts[0].workload.test_examples
    return Plan(
        techniques=planned_techniques,
        warnings=tuple(warning for warning in warnings if warning is not None),
        seeds=request.seeds,
        budget_minutes=budget.minutes,
        budget_tokens=budget.tokens,
        hard_cap_seconds=hard_cap(budget, options),
        tokens_per_second=common_speed(parts),
        test_examples=test_examples,
        curve=options.curve,
        limit=options.limit,
        seed=options.seed,
        currency=request.prices.currency,
        billed=any(part.price.by_token for part in parts),
        tolerance=options.tolerance,
        power=power_of(test_examples, techniques=sum(len(part.to_run) for part in parts)),
        speeds={part.base.name: part.speed for part in parts},
        enough_tokens=enough_tokens,
    )


def _fits(parts: Sequence[MeasuredBase]) -> int:
    return sum(part.fits for part in parts)


def _enough(parts: Sequence[MeasuredBase]) -> int | None:
    """The budget of a fit with which each, on any base, sees the training examples three times."""
    return max((part.enough for part in parts if part.enough is not None), default=None)


def _with_estimates(
    part: MeasuredBase, request: ComparisonRequest, each: int | None
) -> list[PlannedTechnique]:
    """The techniques of one base with their budget of `each` tokens and their estimates."""
    model = request.bases.model(part.base.name)
    found = []
    for planned, technique in zip(part.techniques, part.base.techniques, strict=True):
        if planned.skip_reason is not None:
            found.append(planned)
            continue
        planned = replace(planned, budget_tokens=each)
        expected = estimate(planned, part.workload, model, speed=part.speed, price=part.price)
        passes = None if each is None else technique.passes(model, request.task, each)
        epochs = None if passes is None else round(passes, 2)
        found.append(replace(planned, estimate=replace(expected, epochs=epochs)))
    return found


def undertrained_warning(
    techniques: Sequence[PlannedTechnique], enough_tokens: int | None
) -> str | None:
    """In words, which techniques would see their training examples fewer than three times, and the
    budget for everything that buys three passes; None where there are none."""
    few = [(p.name, e) for p in techniques if (e := p.estimate.epochs) is not None and e < ENOUGH]
    if not few:
        return None
    names = ", ".join(f"{name} {passes:.1f} times" for name, passes in few)
    words = f"This budget lets a fit see the training examples less than {ENOUGH} times: {names}."
    if enough_tokens is None:
        return words
    return (
        f"{words} Such a fit is no trial of its technique, and the verdict will leave it out. "
        f"--budget {budget_words(enough_tokens)} buys {ENOUGH} passes."
    )


def memory_warning(techniques: Sequence[PlannedTechnique], most: int | None) -> str | None:
    """In words, which techniques would take more than the `most` bytes of this machine; None where
    all have enough."""
    if most is None:
        return None
    needs = [(p.name, p.estimate.peak_memory_bytes or 0) for p in techniques]
    large = [f"{name} ({bytes / 1e9:.1f} GB)" for name, bytes in needs if bytes > most]
    if not large:
        return None
    return (
        f"This machine has {most / 1e9:.1f} GB of memory, and that is too little for "
        f"{', '.join(large)}: leave it out, or take a smaller base."
    )


def _given_or_default(budget: Budget, parts: Sequence[MeasuredBase]) -> Budget:
    """The budget that the user gave; else three passes for every fit, where that is soon done."""
    if budget.tokens is not None or budget.minutes is not None:
        return budget
    enough = _enough(parts)
    seconds = None if enough is None else seconds_of(parts, enough)
    if enough is None or seconds is None or seconds > LONGEST_DEFAULT:
        return DEFAULT_BUDGET
    return Budget(tokens=enough * _fits(parts))


def hard_cap(budget: Budget, options: Options) -> float | None:
    """The time limit in seconds; None where the budget is in tokens and no limit was given."""
    if options.hard_cap_minutes is not None:
        return options.hard_cap_minutes * 60
    return None if budget.minutes is None else budget.minutes * 60 * CAP_FACTOR


def _fit_budget(budget: Budget, parts: Sequence[MeasuredBase], *, given: bool) -> int | None:
    """The tuning budget of one fit in forward-token equivalents, rounded down to two digits; the
    same on every base. None: no limit. Where a fit needs more than its share, BudgetError for a
    budget that was given, and what it needs where none was.
    """
    fits = _fits(parts)
    if fits == 0:
        return None
    least = max(_least_fit_tokens(part.workload) for part in parts)
    per_token, tests = seconds_of(parts, 1.0), testing_seconds(parts)
    if budget.tokens is not None:
        each = budget.tokens / fits
        least_total = ceil(fits * least)
        least_words = f"{least_total:,} tokens (--budget {least_total}tok)"
    elif per_token is None or budget.minutes is None:
        return None
    else:
        each = (budget.minutes * 60 - tests) / (per_token - tests)
        seconds = tests + least * (per_token - tests)
        least_words = f"about {max(1, round(seconds))} seconds"
    if each < least and not given:
        return ceil(least)  # a busy or a slow machine is no mistake of the user
    if each < least:
        amount = (
            f"{budget.tokens:,} tokens" if budget.tokens is not None
            else f"{(budget.minutes or 0) * 60:g} seconds"
        )  # fmt: skip
        raise BudgetError(
            f"A budget of {amount} is too small for {fits} run{'s' * (fits != 1)} "
            f"on {parts[0].workload.test_examples} test examples: it takes at least {least_words}",
            next_step="Give a larger --budget, fewer --techniques or --seeds, or a --limit on the "
            "test examples.",
        )
    return _two_digits(each)


def _least_fit_tokens(workload: Workload) -> float:
    return LEAST_ROWS * 2 * workload.example


def _two_digits(value: float) -> int:
    """Rounded down, so that a speed measured a little differently mostly gives the same budget."""
    unit = 10 ** max(0, floor(log10(value)) - 1)
    return int(value // unit * unit)
