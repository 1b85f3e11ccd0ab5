"""One fit from end to end: rows, dev looks, schedule, loop, record. Every trained technique calls
it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from luthier.errors import BudgetError
from luthier.models.local.session import Session
from luthier.models.model import Model
from luthier.records import FitRecord
from luthier.task.task import Task
from luthier.training.dev import dev_look
from luthier.training.loop import Fit, Schedule
from luthier.training.rows import rows_for
from luthier.training.start import dev_examples
from luthier.training.trainable import Trainable

FROZEN_BASE = 2  # forward, and backward through activations
TRAINED_WEIGHTS = 3  # and backward to the weights
STEPS_WORTH_SEARCHING = 40  # for each learning rate of the grid


@dataclass(frozen=True, slots=True)
class Settings:
    """What the trained techniques share."""

    learning_rates: tuple[float, ...]
    batch_size: int
    factor: int
    weight_decay: float = 0.0


def fit(
    model: Model, task: Task, *, session_of: Callable[[], Session], trainable: Trainable,
    settings: Settings, tokens: int, seed: int,
) -> FitRecord:  # fmt: skip
    """Train `trainable` inside an open session and leave it in its best state.

    `session_of` gives the session as the trainable now stands. A tenth of the tokens at most goes
    to each look at dev. BudgetError when the tokens do not reach for one batch per learning rate.
    """
    begin = time.perf_counter()
    rows = rows_for(model, session_of(), task.train)
    mean = sum(len(r.ids) for r in rows) / len(rows)
    size = max(1, min(settings.batch_size, len(rows)))
    step_cost = mean * size * settings.factor
    rates = settings.learning_rates
    affordable = tokens / step_cost
    if affordable < 4:
        raise BudgetError(
            f"{tokens} tokens are less than four steps of {size} examples ({step_cost:.0f} each)",
            next_step="Give a larger budget.",
        )
    if affordable < STEPS_WORTH_SEARCHING * len(rates):
        # Too little for a search, which would cost more steps than a better rate wins.
        rates = (rates[len(rates) // 2],)
    dev_tokens = tokens // 40  # a look; three to eight looks are a tenth to a fifth of the fit
    most = max(16, min(len(task.dev), int(dev_tokens / (mean + 8))))
    look = dev_look(model, session_of, dev_examples(task, most))
    schedule = Schedule(
        tokens=tokens,
        factor=settings.factor,
        learning_rates=rates,
        batch_size=size,
        weight_decay=settings.weight_decay,
    )
    running = Fit(session_of(), trainable, rows=rows, look=look, schedule=schedule, seed=seed)
    done = running.run()
    chosen: Mapping[str, Any] = {
        "learning_rate": running.learning_rate,
        "learning_rates_tried": list(rates),
        "steps": done.total_steps,
        "batch_size": size,
        "epochs": round(done.total_steps * size / len(rows), 2),
        "dev_examples": min(most, len(task.dev)),
        "stopped_early": done.stopped_early,
    }
    return FitRecord(
        fit_seconds=time.perf_counter() - begin,
        spent_tokens=done.total_spent,
        trainable_parameters=sum(p.numel() for p in trainable.parameters()),
        train_examples=len(rows),
        chosen=chosen,
        history=tuple(done.history),
    )
