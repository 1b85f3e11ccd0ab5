"""Reasoning: think first, then answer (Wei et al. 2022, arXiv:2201.11903; without demonstrations
Kojima et al. 2022, arXiv:2205.11916, section 3)."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import ClassVar

from luthier.errors import TechniqueError
from luthier.models.model import Model
from luthier.records import Budget, Capability, FitRecord, Lineage
from luthier.task.task import Task
from luthier.techniques.base import Card, Footprint, Technique, check_needs, settings_of
from luthier.training.starting_prompt import starting_model


@dataclass(frozen=True)
class Reasoning(Technique):
    """The model writes what it thinks before it answers.

    **Settings**

    - `thinking_tokens`: the longest thought, 128 by default.
    - `votes`: so many thoughts are drawn, each leads to an answer, and the commonest one counts
      (self-consistency, arXiv:2203.11171, section 2).
    - `temperature`: of the thoughts where there are several votes; a single one is greedy.
    """

    thinking_tokens: int = 128
    votes: int = 1
    temperature: float = 0.7

    name: ClassVar[str] = "reasoning"
    family: ClassVar[str] = "prompt"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.TEXT})
    trained: ClassVar[bool] = False
    footprint: ClassVar[Footprint] = Footprint(tunes=False)
    card: ClassVar[Card] = Card(
        changes="how an answer is reached: a thought is written first, and stands before it",
        needs="text, and a base that can reason in words",
        pays_when="the answer takes several steps, and the base is large enough to take them",
        costs="nothing to fit; every request generates a thought, with votes several",
        source="arXiv:2205.11916, section 3; votes arXiv:2203.11171, section 2",
    )

    def __post_init__(self) -> None:
        for setting in ("thinking_tokens", "votes"):
            value = getattr(self, setting)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise TechniqueError(
                    f"reasoning: {setting}={value!r} must be a whole number of at least 1"
                )
        if self.temperature <= 0:
            raise TechniqueError(
                f"reasoning: temperature={self.temperature!r} must be a number above 0"
            )

    @property
    def seeded(self) -> bool:
        """With votes the thoughts are drawn at random."""
        return self.votes > 1

    def fit(self, model: Model, task: Task, *, budget: Budget, seed: int = 0) -> Model:
        """The model with the task's prompt, or the one that it brings along, and a thought before
        each answer. Nothing is spent."""
        check_needs(self, model)
        began = time.perf_counter()
        start = starting_model(model, task)
        decoding = replace(
            start.adaptation.decoding,
            thinking_tokens=self.thinking_tokens,
            votes=self.votes,
            temperature=self.temperature if self.votes > 1 else 0.0,
        )
        record = FitRecord(
            fit_seconds=time.perf_counter() - began,
            spent_tokens=0,
            trainable_parameters=0,
            train_examples=0,
        )
        lineage = Lineage(self.name, settings_of(self), seed, record, model.lineage)
        return start.adapt(decoding=decoding, lineage=lineage)
