"""What all runs of a comparison share, and what one of them is to do."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from luthier.compare.comparison import Run
from luthier.compare.plan import PlannedTechnique
from luthier.compare.running.run_keys import run_key
from luthier.errors import InterruptedRun
from luthier.ledger.artifacts import Artifacts
from luthier.ledger.run_ledger import Ledger
from luthier.models.model import Model
from luthier.records import StepRecord

if TYPE_CHECKING:
    from luthier.task.task import Task
    from luthier.techniques.base import Technique

ProgressCallback = Callable[[float, str], None]


class HardCapReached(InterruptedRun):
    """The time limit of the comparison ran out during a run."""


@dataclass(frozen=True)
class RunContext:
    """What all runs of a comparison share. `seconds` is the time limit; `deadline`, on the clock of
    `time.monotonic`, is set by `again`. `known` are runs that this process found or made finished:
    their artifacts are not read through again at each look."""

    store: Ledger
    folder: Path
    comparison: str
    task: Task
    model: Model
    identity: str
    limit: int | None
    seconds: float | None = None
    deadline: float | None = None
    known: dict[str, Run] = field(default_factory=dict)

    @cached_property
    def artifacts(self) -> Artifacts:
        """Where fitted adaptations are kept."""
        return Artifacts(self.folder / "artifacts")

    @cached_property
    def locked(self) -> Task:
        """The task as techniques get it."""
        return self.task.without_test()

    @cached_property
    def base_loss(self) -> float | None:
        """Loss of the model as it was given, on text off the task."""
        from luthier.scoring import off_task_loss

        found = off_task_loss(self.model)
        return None if found is None else found.nats_per_token

    def again(self) -> RunContext:
        """The same with the time limit beginning now."""
        end = None if self.seconds is None else time.monotonic() + self.seconds
        return replace(self, deadline=end)

    def check_time(self) -> None:
        """HardCapReached when the time limit has passed."""
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise HardCapReached(
                "The time limit was reached",
                next_step="Run the same command again to go on, or give a larger --budget.",
            )

    def key(
        self, technique: Technique, planned: PlannedTechnique, seed: int, part: str = ""
    ) -> str:
        """The key of one run in the ledger."""
        return run_key(
            self.task,
            self.identity,
            technique,
            seed=seed,
            budget_tokens=planned.budget_tokens,
            limit=self.limit,
            part=part,
        )


@dataclass(frozen=True, slots=True)
class RunRequest:
    """One fit to make: a technique, a seed, a budget, and what it starts from.

    `purpose` is "run", "step" or "curve" (see `ledger.store`). `task` (locked) and `model` are
    those of the bench, except for a point of a learning curve and for the later steps of a
    recipe. For the last step of a `recipe`, `before` holds what the earlier ones did.
    """

    key: str
    purpose: str
    technique: Technique
    planned: PlannedTechnique
    seed: int
    budget_tokens: int | None
    task: Task
    model: Model
    recipe: Technique | None = None
    before: tuple[StepRecord, ...] = ()
