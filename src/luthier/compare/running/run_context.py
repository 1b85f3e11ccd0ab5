"""What all runs of a comparison share, and the request for one of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from luthier.compare.bases import OpenBases
from luthier.compare.comparison import Run
from luthier.compare.plan import PlannedTechnique
from luthier.compare.running.run_keys import run_key
from luthier.errors import InterruptedRun
from luthier.ledger.artifacts import Artifacts
from luthier.ledger.run_ledger import Ledger, PlannedRun
from luthier.models.model import Model
from luthier.records import Budget, StepRecord

if TYPE_CHECKING:
    from luthier.task.task import Task
    from luthier.techniques.base import Technique

ProgressCallback = Callable[[float, str], None]  # the fraction that is done, and a message


class HardCapReached(InterruptedRun):
    """The time limit of the comparison ended during a run."""


@dataclass(frozen=True)
class RunContext:
    """What all runs of a comparison share.

    **Fields**

    - `comparison`: its id in the ledger; `folder`: the run folder.
    - `bases`: what the techniques start from.
    - `techniques`: by the name in the plan.
    - `limit`: how many test examples are scored; None for all.
    - `time_limit_seconds`; `deadline`, on the clock of `time.monotonic`, is set by `with_deadline`.
    - `finished`: runs by key that this process made or found finished, so that their artifacts are
      not read through again each time.
    - `off_task_losses`: of the bases as they were given, by name, once measured.
    """

    ledger: Ledger
    folder: Path
    comparison: str
    task: Task
    bases: OpenBases
    techniques: Mapping[str, Technique]
    limit: int | None
    time_limit_seconds: float | None = None
    deadline: float | None = None
    finished: dict[str, Run] = field(default_factory=dict)
    off_task_losses: dict[str, float | None] = field(default_factory=dict)

    @cached_property
    def artifacts(self) -> Artifacts:
        """The store of fitted adaptations."""
        return Artifacts(self.folder / "artifacts")

    @cached_property
    def task_without_test(self) -> Task:
        """The task as techniques get it."""
        return self.task.without_test()

    def base_loss(self, base: str) -> float | None:
        """Loss of a base as it was given, on text off the task."""
        if base not in self.off_task_losses:
            from luthier.scoring import off_task_loss

            loss = off_task_loss(self.bases.model(base))
            self.off_task_losses[base] = None if loss is None else loss.nats_per_token
        return self.off_task_losses[base]

    def with_deadline(self) -> RunContext:
        """The same context, its time limit starting now."""
        limit = self.time_limit_seconds
        return replace(self, deadline=None if limit is None else time.monotonic() + limit)

    def check_time(self) -> None:
        """HardCapReached when the time limit has passed."""
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise HardCapReached(
                "The time limit was reached",
                next_step="Run the same command again to go on, or give a larger --budget.",
            )

    def planned_run(
        self, planned: PlannedTechnique, seed: int, *, step: str = "", share: float | None = None
    ) -> PlannedRun:
        """A run of the comparison: one technique with one seed.

        `step` ("1 few-shot") makes it an intermediate step of a recipe, `share` a point of the
        learning curve.
        """
        purpose, part = ("step", step) if step else ("run", "")
        if share is not None:
            purpose, part = "curve", f"{share:g}"
        key = run_key(
            self.task,
            self.bases.of(planned.base).identity,
            self.techniques[planned.name],
            seed=seed,
            budget_tokens=planned.budget_tokens,
            limit=self.limit,
            part=f"curve {part}" if purpose == "curve" else part,
        )
        return PlannedRun(self.comparison, key, planned.name, purpose, part, seed)


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A run to make: what to fit, on which examples, from which model, within which budget.

    `task` (without its test split) is that of the comparison, and `model` the one of `base`, but
    for a point of the learning curve (a share of the task) and for the later steps of a recipe (the
    model after the step before). For the last step of a `recipe`, `earlier_steps` holds the records
    of those before it.
    """

    planned: PlannedRun
    technique: Technique
    task: Task
    model: Model
    budget: Budget
    base: str = ""
    recipe: Technique | None = None
    earlier_steps: tuple[StepRecord, ...] = ()
