"""What the techniques share that change how a model answers: an adapter that is watched."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from luthier.records import Capability
from luthier.task.task import Task
from luthier.techniques.base import Footprint, Technique, settings_of
from luthier.techniques.preference.lora_settings import lora_config

if TYPE_CHECKING:
    from luthier.training.adapter_fit import AdapterPlan
    from luthier.training.objectives import Objective

PREFERENCES_MISSING = (
    "the task has no worse answers to learn from (name their column with `rejected`)"
)


class AnswerTuning(Technique):
    """Trains the model's own adapter further, or a fresh LoRA where it carries none.

    A subclass is a frozen dataclass with the settings `rank` and `gates`, and with those that
    `AdapterPlan` reads.
    """

    family: ClassVar[str] = "adapter"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.GRADIENTS})
    trained: ClassVar[bool] = True
    footprint: ClassVar[Footprint] = Footprint(gradients=True)

    rank: int
    gates: bool

    def plan(self, objective: Objective, *, guarded: Task | None = None) -> AdapterPlan:
        """How the adapter trains for an objective; `guarded` is as in `AdapterPlan`."""
        from luthier.training.adapter_fit import AdapterPlan
        from luthier.training.health import HealthLimits

        return AdapterPlan(
            self.name,
            settings_of(self),
            objective,
            lambda module: lora_config(module, rank=self.rank),
            goes_on=True,
            health=HealthLimits() if self.gates else None,
            guarded=guarded,
        )


class PreferenceTuning(AnswerTuning):
    """Learns from the worse answers that a task names beside its targets."""

    def unmet_by_task(self, task: Task) -> str | None:
        """In words, why nothing can be learnt from this task's preferences."""
        if task.labels:
            return "preferences are about answers in free text, and this task asks for labels"
        return None if any(e.rejected for e in task.train) else PREFERENCES_MISSING
