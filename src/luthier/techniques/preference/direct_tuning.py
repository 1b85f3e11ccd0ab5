"""What the techniques share that learn from preferences directly, without a reward model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from luthier.errors import TechniqueError
from luthier.models.model import Model
from luthier.records import Budget
from luthier.task.task import Task
from luthier.techniques.base import check_needs
from luthier.techniques.preference.answer_tuning import PreferenceTuning

if TYPE_CHECKING:
    from luthier.training.objectives import Objective


@dataclass(frozen=True)
class DirectTuning(PreferenceTuning):
    """An adapter, trained for a loss on preferences. `DPO` and `KTO` explain the settings."""

    beta: float = 0.1
    rank: int = 8
    learning_rates: tuple[float, ...] = (1e-4, 3e-4, 1e-3)
    batch_size: int = 4
    prompt: str = "task"
    gates: bool = True

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise TechniqueError(
                f"beta={self.beta:g} holds the model to nothing",
                next_step="Take a number above 0; 0.1 is usual.",
            )

    def objective(self) -> Objective:
        """The loss, under these settings."""
        raise NotImplementedError

    def fit(self, model: Model, task: Task, *, budget: Budget, seed: int = 0) -> Model:
        """Train an adapter on preferences; the base is not written to."""
        return self.learn(model, task, budget=budget, seed=seed)

    def learn(
        self, model: Model, task: Task, *, budget: Budget, seed: int, guarded: Task | None = None
    ) -> Model:
        """The same; the dev score of a `guarded` task that the model had must not fall."""
        check_needs(self, model)
        from luthier.training.adapter_fit import fit_adapter

        plan = self.plan(self.objective(), guarded=guarded)
        return fit_adapter(model, task, plan, budget=budget, seed=seed)
