"""What the techniques share that learn from pictures with captions."""

from __future__ import annotations

from typing import ClassVar

from luthier.models.model import Model
from luthier.records import Capability
from luthier.task.task import Task
from luthier.techniques.base import Technique

DEV_SHARE = 1 / 4  # of the tokens, at most, that go to drawing dev requests
# A picture is seen at one noise level in a step, and with few steps nothing new is learnt.
ENOUGH_LOOKS = 1600


class FromPictures(Technique):
    """Trains part of a model that draws, on the pictures of a task.

    **Class attributes**

    - `cost_factor`: passes of the denoiser that a trained pass costs.
    """

    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.DENOISING})
    trained: ClassVar[bool] = True
    cost_factor: ClassVar[int] = 2

    def unmet_by_task(self, task: Task) -> str | None:
        """In words, that a task has no pictures to learn from; None where it has some."""
        if any(example.picture for example in task.train):
            return None
        return f"task {task.name!r} has no training pictures with captions"

    def passes(self, model: Model, task: Task, tokens: int) -> float | None:
        """Passes over the training pictures that so many passes of the denoiser buy, roughly; None
        where there are no pictures."""
        pictures = sum(bool(example.picture) for example in task.train)
        return tokens * (1 - DEV_SHARE) / (self.cost_factor * pictures) if pictures else None

    def enough_passes(self, task: Task) -> float:
        """Three as elsewhere, and where pictures are few as many as make 1,600 looks."""
        pictures = sum(bool(example.picture) for example in task.train)
        return max(super().enough_passes(task), ENOUGH_LOOKS / max(1, pictures))
