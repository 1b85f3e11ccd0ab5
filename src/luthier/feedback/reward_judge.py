"""A reward model as a judge, so that what people are asked next is where reward models disagree."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from luthier.ledger.opinions import Grade
from luthier.models.model import Model
from luthier.records import Example
from luthier.scoring.judges.judge import JudgedPair, Question
from luthier.training.reward_training import OpenReward, load_reward

# From which probability that one answer is better a grade is given.
GRADES_FROM: tuple[tuple[float, Grade], ...] = (
    (0.95, "significantly"), (0.8, "better"), (0.6, "slightly"), (0.0, "unsure"),
)  # fmt: skip


class RewardJudge:
    """A `Judge` over an open reward model."""

    def __init__(self, reward: OpenReward, *, name: str) -> None:
        self.reward, self.name = reward, name

    def compare(self, asked: Sequence[tuple[Question, str, str]]) -> list[JudgedPair]:
        """By σ(r₁ − r₂): how sure the reward model is."""
        examples = [_example(question) for question, _, _ in asked]
        first = self.reward(examples, [a for _, a, _ in asked])
        second = self.reward(examples, [b for _, _, b in asked])
        found = []
        for one, other in zip(first, second, strict=True):
            sure = 1 / (1 + math.exp(-min(abs(one - other), 50.0)))
            grade = next(name for least, name in GRADES_FROM if sure >= least)
            found.append(JudgedPair(None if grade == "unsure" else one > other, grade))
        return found

    def rate(self, asked: Sequence[tuple[Question, str]]) -> list[float | None]:
        """σ of the reward."""
        rewards = self.reward([_example(q) for q, _ in asked], [a for _, a in asked])
        return [1 / (1 + math.exp(-max(-50.0, min(r, 50.0)))) for r in rewards]


@contextmanager
def saved_reward(folder: Path, *, model: Model) -> Iterator[RewardJudge]:
    """The judge of a round's reward model. ModelError where the round has none (dpo and kto learn
    without one)."""
    with load_reward(folder / "reward", model=model).opened() as opened:
        yield RewardJudge(opened, name=f"reward of {folder.name}")


def _example(question: Question) -> Example:
    return Example("", question.text, "", None, question.context)
