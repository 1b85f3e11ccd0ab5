"""One fit from end to end: rows, dev looks, schedule, loop, record. Every trained technique calls
it."""

from __future__ import annotations

import math
import time
from collections.abc import Collection
from dataclasses import dataclass

from luthier.engine import Session
from luthier.errors import BudgetError
from luthier.models.model import Model
from luthier.records import FitRecord, TrainingFacts
from luthier.task.task import Task
from luthier.training.loop import SEARCH_SHARE, Schedule, TrainingLoop
from luthier.training.parameters import Trainable
from luthier.training.preparation import dev_examples
from luthier.training.rows import TrainRow, rows_for

STEPS_WORTH_SEARCHING = 40  # for each learning rate of the grid, where a step is of several rows
# Of few rows: with fewer steps a search takes the better start for the better rate.
SMALL_STEPS_WORTH_SEARCHING = 300


@dataclass(frozen=True, slots=True)
class Settings:
    """What the trained techniques share. `members`: trials of each learning rate that train side
    by side to the end, each on its share of the tokens. `search_from`: so many steps for each rate
    of the grid, or the middle one is taken: below that a search costs more than it wins."""

    learning_rates: tuple[float, ...]
    batch_size: int
    weight_decay: float = 0.0
    members: int = 1
    search_from: int = STEPS_WORTH_SEARCHING


@dataclass(frozen=True, slots=True)
class Fitted:
    """The record, and which trials won."""

    record: FitRecord
    winners: list[int]


def fit(
    model: Model, task: Task, *, session: Session, trainable: Trainable, settings: Settings,
    tokens: int, seed: int, room: int = 0, leave_out: Collection[str] = (),
) -> Fitted:  # fmt: skip
    """Train `trainable` inside an open session and leave it in its best state.

    It has a trial for each learning rate and member, members of one rate together. About an eighth
    of the tokens goes to looks at dev. `room`: virtual tokens that rows must leave space for.
    `leave_out`: ids of training examples that are used in another way.
    BudgetError when the tokens do not reach for four steps.
    """
    begin = time.perf_counter()
    examples = [e for e in task.train if e.id not in leave_out]
    rows = rows_for(model, session, examples, room=room)
    trainable.ready(rows)
    size = max(1, min(settings.batch_size, len(rows)))
    rates = settings.learning_rates
    live = range(settings.members)
    affordable = affordable_steps(trainable, rows, size, live, tokens)
    if affordable < 4:
        raise BudgetError(
            f"{tokens} tokens are less than four steps of {size} examples",
            next_step="Give a larger budget.",
        )
    if affordable < settings.search_from * len(rates):
        rates = (rates[len(rates) // 2],)
    together = len(rates) if trainable.together else 1
    most = dev_size(trainable, rows, tokens, members=settings.members, candidates=together)
    evaluate_dev = trainable.dev_evaluator(model, dev_examples(task, most))
    schedule = Schedule(
        tokens=tokens,
        candidates=tuple((rate,) * settings.members for rate in rates),
        batch_size=size,
        weight_decay=settings.weight_decay,
    )
    running = TrainingLoop(
        trainable, rows=rows, evaluate_dev=evaluate_dev, schedule=schedule, seed=seed
    )
    done = running.run()
    winners = running.winner
    facts = TrainingFacts(
        learning_rate=schedule.rates[winners[0]],
        learning_rates_tried=tuple(rates),
        steps=done.total_steps,
        batch_size=size,
        epochs=round(done.total_steps * size / len(rows), 2),
        dev_examples=min(most, len(task.dev)),
        stopped_early=not done.live,
    )
    scores = [entry.dev_score for entry in done.history if entry.dev_score is not None]
    record = FitRecord(
        fit_seconds=time.perf_counter() - begin,
        spent_tokens=done.total_spent,
        trainable_parameters=sum(p.numel() for k in winners for p in trainable.parameters(k)),
        train_examples=len(task.train),
        dev_score=max(scores, default=None),
        training=facts,
        history=tuple(done.history),
    )
    return Fitted(record, winners)


def affordable_steps(
    trainable: Trainable, rows: list[TrainRow], size: int, live: range, tokens: int
) -> float:
    """How many steps of `size` rows the tokens reach for. What is paid once for a row (its cached
    keys and values) is paid in the first epoch."""
    once = trainable.standing(rows) / len(rows) * size
    step = trainable.cost(rows, live) / len(rows) * size - once
    epoch = len(rows) / size
    if tokens < epoch * (step + once):
        return tokens / (step + once)
    return (tokens - epoch * once) / step


def dev_size(
    trainable: Trainable, rows: list[TrainRow], tokens: int, *, members: int, candidates: int = 1
) -> int:
    """Dev examples for which five looks take an eighth of the tokens, and the look after a rung
    that many candidates began half of that rung; 16 at least."""
    once = trainable.standing(rows) / len(rows)
    answer = sum(len(r.answer) for r in rows) / len(rows)
    trained = trainable.cost(rows, range(members)) / len(rows) - once
    each = trained / trainable.factor - members * answer + members * 8
    most = tokens / 8 / (once + 5 * each)
    if candidates > 1:
        # Else a look eats the rungs after it, and the best of the first few steps has won.
        rung = tokens * SEARCH_SHARE / math.ceil(math.log2(candidates))
        most = min(most, rung / 2 / (once + candidates * each))
    return max(16, int(most))
