"""Reasoning: think first, then answer (Wei et al. 2022, arXiv:2201.11903; without demonstrations
Kojima et al. 2022, arXiv:2205.11916, section 3)."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import ClassVar

from luthier.models.model import Model
from luthier.records import Budget, Capability, FitRecord, Lineage
from luthier.task.task import Task
from luthier.techniques.base import Card, Footprint, Technique, check_needs, settings_of
from luthier.techniques.setting_checks import check_choices, check_number, check_whole_numbers
from luthier.training.starting_prompt import starting_model

MODES = ("words", "template")


@dataclass(frozen=True)
class Reasoning(Technique):
    """The model writes what it thinks before it answers.

    **Settings**

    - `mode`: "words" asks for a thought in words; "template" lets a base that was trained to think
      (Qwen3, R1, a server's thinking model) do so in its own way.
    - `thinking_tokens`: the longest thought, 128 by default. Models that think in their own way
      want more, 1,024 say; what is cut is answered after all, and told.
    - `votes`: so many thoughts are drawn, each leads to an answer, and the commonest one counts
      (self-consistency, arXiv:2203.11171, section 2).
    - `temperature`: of the thoughts where there are several votes; a single one is greedy.
    """

    mode: str = "words"
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
        check_whole_numbers(self, thinking_tokens=1, votes=1)
        check_choices(self, mode=MODES)
        check_number(self, "temperature", above=0)

    def unmet_by_model(self, model: Model) -> str | None:
        """A thinking mode is a matter of the base."""
        if self.mode == "words" or model.backend.facts.thinks:
            return None
        return (
            f"reasoning(mode={self.mode}) needs a base that thinks before it answers, and the chat "
            f"template of {model.backend.name} has no such mode"
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
        own = self.mode == "template"
        if own:  # a template is there for chats
            prompt = start.adaptation.prompt
            chat = replace(prompt, format=replace(prompt.format, style="chat"))
            start = start.adapt(prompt=chat)
        decoding = replace(
            start.adaptation.decoding,
            thinking_tokens=self.thinking_tokens,
            own_thoughts=own,
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
