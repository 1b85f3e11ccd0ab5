"""Positive terms: which words behind a request make its pictures better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from luthier.models.model import Model
from luthier.task.task import Task
from luthier.techniques.base import Card
from luthier.techniques.image.slot_search import Change, SlotSearch
from luthier.techniques.image.term_list import as_terms, holds, joined
from luthier.techniques.setting_checks import check_whole_numbers

USUAL_TERMS = (
    "high quality", "detailed", "sharp", "simple", "on a white background", "in the centre",
    "masterpiece", "4k",
)  # fmt: skip


@dataclass(frozen=True)
class TermSearch(SlotSearch):
    """Terms that go behind every request, added one at a time while they help on dev.

    **Settings**

    - `terms`: those that are tried, a list or a text with commas.
    - `rounds`: the most terms that are added.
    """

    terms: tuple[str, ...] = USUAL_TERMS
    rounds: int = 3

    name: ClassVar[str] = "term-search"
    card: ClassVar[Card] = Card(
        changes="the prompt: terms behind every request",
        needs="a model that draws; dev examples that can be scored",
        pays_when="the model draws what is asked for, and not as well as it could",
        costs="pictures on dev; nothing at each request",
        source="greedy forward selection; halving arXiv:1502.07943",
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "terms", as_terms(self.name, "terms", self.terms))
        check_whole_numbers(self, rounds=1)

    def changes(self, model: Model, task: Task, number: int) -> Sequence[Change]:
        """Each term that is not there yet, and in the first round no terms where there are some."""
        prompt = model.adaptation.prompt
        found = []
        for term in self.terms:
            if not holds(prompt.instruction, term):
                words = joined(prompt.instruction, term)
                new = replace(prompt, instruction=words)
                found.append(Change(f"+ {term}", model.adapt(prompt=new), 1))
        if number == 0 and prompt.instruction:
            bare = replace(prompt, instruction="")
            found.insert(0, Change("without terms", model.adapt(prompt=bare), -1))
        return found

    def chosen(self, model: Model) -> dict[str, Any]:
        """The terms behind every request."""
        return {"terms": model.adaptation.prompt.instruction}
