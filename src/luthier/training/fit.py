"""One fit from end to end: rows, dev evaluations, schedule, loop, record. Every trained technique
calls it."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from luthier.errors import BudgetError
from luthier.models.backend import Backend
from luthier.models.model import Model
from luthier.records import Budget, FitRecord, TrainingFacts
from luthier.task.task import Task
from luthier.training.dev_eval import dev_examples, label_tokens
from luthier.training.loop import EVALUATIONS, SEARCH_SHARE, HealthCheck, Schedule, TrainingLoop
from luthier.training.objectives import Objective
from luthier.training.rows import TrainRow
from luthier.training.trainable import Trainable

DEFAULT_MINUTES = 2.0
STEPS_WORTH_SEARCHING = 40  # for each learning rate of the grid, where a step is of several rows
# Of few rows: with fewer steps a search takes the better start for the better rate.
SMALL_STEPS_WORTH_SEARCHING = 300
SEARCH_PASSES = 3  # over the rows, after which a rate that takes its turn is judged
FEWEST_STEPS = 4
DEV_SHARE = 1 / 8  # of the tokens, for dev evaluations
FEWEST_DEV_EXAMPLES = 16
MOST_DEV_SHARE = 1 / 4  # what that many may take of a budget that is small for its inputs
STEPS_OF_FEW_ROWS = 8  # that smaller batches are made for


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """What the trained techniques share.

    **Fields**

    - `tokens`: the budget of the fit, in forward-token equivalents.
    - `learning_rates`: the grid of the search.
    - `batch_size`: rows a step.
    - `weight_decay`: that of AdamW.
    - `trials_per_rate`: trials of each learning rate that train side by side to the end, each on
      its share of the tokens.
    - `search_from`: the grid is searched where the tokens reach for so many steps for each rate,
      and rates that take turns for three passes over the rows each; below that a search costs more
      than it wins, and the middle rate is taken.
    - `virtual_tokens`: how many rows must leave space for.
    - `exclude`: ids of training examples that are used in another way.
    - `dev_tokens`: what a dev example takes where it is not read as a row is: where it is drawn.
    - `label_tokens`: what all labels of a dev example take; None: it is read as a row is. `fit`
      counts them.
    """

    tokens: int
    learning_rates: tuple[float, ...]
    batch_size: int
    weight_decay: float = 0.0
    trials_per_rate: int = 1
    search_from: int = STEPS_WORTH_SEARCHING
    virtual_tokens: int = 0
    exclude: Collection[str] = ()
    dev_tokens: int | None = None
    label_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class FitResult:
    """The record of a fit, and which trials won: those of the best learning rate."""

    record: FitRecord
    winners: list[int]


def fit(
    model: Model,
    task: Task,
    *,
    trainable: Trainable,
    objective: Objective,
    settings: TrainingSettings,
    seed: int,
    health: HealthCheck | None = None,
) -> FitResult:
    """Train `trainable` for `objective` inside its open session and leave it in its best state.

    It has a trial for each learning rate and place in `trials_per_rate`, those of one rate
    together. About an eighth of the tokens goes to dev evaluations, a quarter at most. Where the
    rest does not reach for four steps, batches are smaller. `health` is that of the loop.
    BudgetError when the tokens do not reach for four steps of one example.
    """
    started = time.perf_counter()
    examples = [e for e in task.train if e.id not in settings.exclude]
    rows = objective.rows(
        model, trainable.session, examples, virtual_tokens=settings.virtual_tokens
    )
    known = len(rows)
    rows = rows_within(trainable, objective, rows, settings, seed=seed)
    prepared = objective.preparation_tokens(rows)
    rows = objective.ready(trainable.session, rows)
    settings = replace(
        settings, tokens=settings.tokens - prepared, label_tokens=label_tokens(model)
    )
    trainable.prepare(rows)
    batch_size = step_size(trainable, rows, settings)
    rates = settings.learning_rates
    for_steps = replace(settings, tokens=int(settings.tokens * (1 - DEV_SHARE)))
    affordable = affordable_steps(trainable, rows, for_steps, batch_size=batch_size)
    passes = affordable * batch_size / len(rows)
    if not searched(
        len(rates), steps=affordable, search_from=settings.search_from,
        passes=None if trainable.parallel else passes,
    ):  # fmt: skip
        rates = (rates[len(rates) // 2],)
    dev = dev_plan(trainable, rows, settings, candidates=len(rates) if trainable.parallel else 1)
    schedule = Schedule(
        tokens=settings.tokens,
        candidates=tuple((rate,) * settings.trials_per_rate for rate in rates),
        batch_size=batch_size,
        evaluations=dev.evaluations,
        evaluation_tokens=dev.tokens,
        weight_decay=settings.weight_decay,
    )
    loop = TrainingLoop(
        trainable,
        objective,
        rows=rows,
        evaluate_dev=trainable.dev_evaluator(model, dev_examples(task, dev.examples), objective),
        schedule=schedule,
        seed=seed,
        health=health,
    )
    done = loop.run()
    winners = loop.winner
    scores = [entry.dev_score for entry in done.history if entry.dev_score is not None]
    record = FitRecord(
        fit_seconds=time.perf_counter() - started,
        spent_tokens=done.total_spent + prepared,
        trainable_parameters=sum(p.numel() for k in winners for p in trainable.parameters(k)),
        train_examples=len(task.train),
        dev_score=max(scores, default=None),
        training=TrainingFacts(
            learning_rate=schedule.learning_rates[winners[0]],
            learning_rates_tried=tuple(rates),
            steps=done.total_steps,
            batch_size=batch_size,
            epochs=round(max(done.steps[k] for k in winners) * batch_size / known, 2),
            dev_examples=min(dev.examples, len(task.dev)),
            stopped_early=not done.active,
        ),
        history=tuple(done.history),
        notes=(f"Stopped at the last good state: {done.collapse}.",) if done.collapse else (),
    )
    return FitResult(record, winners)


def budget_tokens(budget: Budget, backend: Backend) -> int:
    """The budget in forward-token equivalents; minutes count at the measured forward speed."""
    if budget.tokens is not None:
        tokens = budget.tokens
    else:
        minutes = budget.minutes if budget.minutes is not None else DEFAULT_MINUTES
        speed = backend.tokens_per_second()
        if speed is None:
            raise BudgetError(
                f"The speed of {backend.name} is not known, so minutes cannot become tokens",
                next_step="Give the budget in tokens.",
            )
        tokens = int(minutes * 60 * speed)
    if tokens < 1:
        raise BudgetError(
            f"A budget of {tokens} tokens trains nothing",
            next_step="Give a few thousand tokens, or some minutes.",
        )
    return tokens


def affordable_steps(
    trainable: Trainable, rows: Sequence[TrainRow], settings: TrainingSettings, *, batch_size: int
) -> float:
    """How many steps of `batch_size` rows the tokens reach for, with the trials of one rate.

    What is paid once for a row (its cached keys and values) is paid in the first epoch.
    """
    tokens, trials = settings.tokens, range(settings.trials_per_rate)
    once = trainable.one_time_cost(rows) / len(rows) * batch_size
    step = trainable.cost(rows, trials) / len(rows) * batch_size - once
    epoch = len(rows) / batch_size
    if tokens < epoch * (step + once):
        return tokens / (step + once)
    return (tokens - epoch * once) / step


def searched(rates: int, *, steps: float, search_from: int, passes: float | None) -> bool:
    """Whether the grid is searched: `steps` and, of rates that take turns, `passes` over the rows
    are what the tokens reach for in all; `passes` is None where rates train side by side."""
    early = passes is not None and passes * SEARCH_SHARE < SEARCH_PASSES * rates
    return rates > 1 and not early and steps >= search_from * rates


def rows_within(
    trainable: Trainable,
    objective: Objective,
    rows: list[TrainRow],
    settings: TrainingSettings,
    *,
    seed: int,
) -> list[TrainRow]:
    """All rows; where making them ready costs and the tokens do not reach for all of them once,
    as many as they reach for, drawn with `seed`. BudgetError where that is less than four."""
    ready = objective.preparation_tokens(rows)
    if not ready:
        return rows
    once = ready + trainable.cost(rows, range(settings.trials_per_rate))
    reach = int(settings.tokens * (1 - MOST_DEV_SHARE) / once * len(rows))
    if reach >= len(rows):
        return rows
    if reach < FEWEST_STEPS:
        row = once / len(rows)
        least = math.ceil(FEWEST_STEPS * row / (1 - MOST_DEV_SHARE))
        raise BudgetError(
            f"{settings.tokens:,} tokens do not reach for the reference and four steps of one "
            f"example: {row:,.0f} tokens an example here",
            next_step=f"Give at least {least:,} tokens a fit; "
            f"{math.ceil(once / (1 - MOST_DEV_SHARE)):,} reach for all {len(rows):,} rows once.",
        )
    drawn = random.Random(seed).sample(range(len(rows)), reach)
    return [rows[i] for i in sorted(drawn)]


def step_size(trainable: Trainable, rows: Sequence[TrainRow], settings: TrainingSettings) -> int:
    """The rows of a step: as many as the settings say; fewer where the tokens, a quarter left for
    dev, would not reach for four steps. BudgetError below four steps of one row."""
    batch_size = max(1, min(settings.batch_size, len(rows)))
    tokens = settings.tokens * (1 - MOST_DEV_SHARE)
    row = trainable.cost(rows, range(settings.trials_per_rate)) / len(rows)
    if tokens >= FEWEST_STEPS * batch_size * row:
        return batch_size
    if tokens < FEWEST_STEPS * row:
        least = math.ceil(FEWEST_STEPS * row / (1 - MOST_DEV_SHARE))
        usual = math.ceil(STEPS_OF_FEW_ROWS * batch_size * row / (1 - MOST_DEV_SHARE))
        raise BudgetError(
            f"{settings.tokens:,} tokens are less than four steps of one example, which takes "
            f"{row:,.0f} tokens here",
            next_step=f"Give at least {least:,} tokens a fit; {usual:,} buy {STEPS_OF_FEW_ROWS} "
            f"steps of {batch_size} examples.",
        )
    return max(1, int(tokens / (STEPS_OF_FEW_ROWS * row)))


@dataclass(frozen=True, slots=True)
class DevPlan:
    """How many dev examples each evaluation scores at most, how often, and what one takes."""

    examples: int
    evaluations: int
    tokens: int


def dev_plan(
    trainable: Trainable, rows: Sequence[TrainRow], settings: TrainingSettings, *, candidates: int
) -> DevPlan:
    """The dev evaluations that a budget bears: five that take an eighth of the tokens, of 16
    examples at least.

    Where `candidates` learning rates begin in one pass, the evaluation after a rung of the search
    takes at most half of that rung. Where five evaluations of 16 examples would take more than a
    quarter, there are fewer, and in the end one, of fewer examples.
    """
    tokens, trials = settings.tokens, settings.trials_per_rate
    once = trainable.one_time_cost(rows) / len(rows)
    answer = sum(len(a) for r in rows for a in r.answers) / len(rows)
    trained = trainable.cost(rows, range(trials)) / len(rows) - once
    each = trained / trainable.cost_factor
    if settings.label_tokens is not None:
        each += trials * (settings.label_tokens - answer)
    if settings.dev_tokens is not None:
        each = float(settings.dev_tokens)
    most = tokens * DEV_SHARE / (once + EVALUATIONS * each)
    if candidates > 1:
        # Else an evaluation eats the rungs after it, and the best of the first few steps has won.
        rung = tokens * SEARCH_SHARE / math.ceil(math.log2(candidates))
        most = min(most, rung / 2 / (once + candidates * each))
    examples, evaluations = affordable_dev(tokens, once=once, each=each, most=int(most))
    return DevPlan(examples, evaluations, int(examples * (once + each)))


def affordable_dev(tokens: int, *, once: float, each: float, most: int) -> tuple[int, int]:
    """How many dev examples are scored, and how often. An example takes `each` tokens every time
    and `once` more the first time; `most` is what an eighth of the tokens reaches for."""
    if most >= FEWEST_DEV_EXAMPLES:
        return most, EVALUATIONS
    spare = tokens * MOST_DEV_SHARE
    times = int((spare / FEWEST_DEV_EXAMPLES - once) / each)
    if times >= 1:
        return FEWEST_DEV_EXAMPLES, min(EVALUATIONS, times)
    return max(1, min(FEWEST_DEV_EXAMPLES, int(spare / (once + each)))), 1
