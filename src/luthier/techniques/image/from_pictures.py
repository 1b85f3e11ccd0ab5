"""What the techniques share that learn from pictures with captions."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from typing import ClassVar

from luthier.models.model import Model
from luthier.records import Capability
from luthier.task.task import Task
from luthier.techniques.base import Technique

DEV_SHARE = 1 / 4  # of the tokens, at most, that go to drawing dev requests
# A picture is seen at one noise level in a step, and with few steps nothing new is learnt.
ENOUGH_LOOKS = 1600
PRIOR_SHARE = 1 / 8  # of the tokens, at most, that go to drawing what the base draws already


class FromPictures(Technique):
    """Trains part of a model that draws, on the pictures of a task.

    **Class attributes**

    - `cost_factor`: passes of the denoiser that a trained pass costs.
    """

    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.DENOISING})
    trained: ClassVar[bool] = True
    prior: float = 0.0
    cost_factor: ClassVar[int] = 2

    def unmet_by_task(self, task: Task) -> str | None:
        """In words, that a task has no pictures to learn from; None where it has some."""
        if any(example.picture for example in task.train):
            return None
        return f"task {task.name!r} has no training pictures with captions"

    def passes(self, model: Model, task: Task, tokens: int) -> float | None:
        """Passes over the training pictures that so many passes of the denoiser buy, roughly; None
        where there are no pictures."""
        pictures = (1 + self.prior) * sum(bool(example.picture) for example in task.train)
        return tokens * (1 - DEV_SHARE) / (self.cost_factor * pictures) if pictures else None

    def enough_passes(self, task: Task) -> float:
        """Three as elsewhere, and where pictures are few as many as make 1,600 looks."""
        pictures = sum(bool(example.picture) for example in task.train)
        return max(super().enough_passes(task), ENOUGH_LOOKS / max(1, pictures))


def with_prior(
    start: Model, task: Task, share: float, *, tokens: int, seed: int
) -> tuple[Task, int]:
    """The task with pictures that the model draws itself as it stands, `share` for each picture of
    the task, and the passes of the denoiser that they took.

    Trained beside the others they keep the rest as it is: prior preservation (Ruiz et al. 2023,
    arXiv:2208.12242, section 3.2). They are drawn for training requests without a picture that do
    not name what the pictures have in common; without such requests there are none.
    """
    shown = [example for example in task.train if example.picture]
    new = _common_words([example.text for example in shown])
    plain = [e for e in task.train if not e.picture and not new & _words(e.text)]
    each = start.backend.answer_tokens(start.adaptation.decoding)
    count = min(round(share * len(shown)), int(PRIOR_SHARE * tokens / each), len(plain))
    if count < 1:
        return task, 0
    asked = random.Random(seed).sample(plain, count)
    drawn = start.answer(asked, seed=seed)
    pictures = {e.id: r.prediction for e, r in zip(asked, drawn, strict=True)}
    train = tuple(replace(e, picture=pictures[e.id]) if e.id in pictures else e for e in task.train)
    return replace(task, train=train), count * each


def _common_words(texts: list[str]) -> set[str]:
    """Words that stand in all texts."""
    return set.intersection(*map(_words, texts)) if texts else set()


def _words(text: str) -> set[str]:
    """The words of more than three letters, a plural as its word."""
    return {re.sub(r"s$", "", word) for word in re.findall(r"\w{4,}", text.lower())}
