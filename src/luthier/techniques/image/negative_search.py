"""Negative prompts: which words to lead away from, and from when on in the schedule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from luthier.errors import TechniqueError
from luthier.models.model import Model
from luthier.task.task import Task
from luthier.techniques.base import Card
from luthier.techniques.image.slot_search import Change, SlotSearch
from luthier.techniques.image.term_list import as_terms, holds, joined
from luthier.techniques.setting_checks import check_whole_numbers

USUAL_TERMS = ("blurry", "low quality", "more shapes", "deformed", "text")
MOST_FROM_TASK = 4  # terms out of the targets: what must not be seen


@dataclass(frozen=True)
class NegativeSearch(SlotSearch):
    """Terms of the negative prompt, added one at a time while they help on dev; in the last round,
    from when on they act.

    What the targets of the training examples say must not be seen is tried first.

    **Settings**

    - `terms`: those that are tried, a list or a text with commas.
    - `rounds`: the most changes that are made.
    - `starts`: shares of the schedule from which on the negative prompt may act (Ban et al. 2024:
      late, and too early it can bring about what it names).
    """

    terms: tuple[str, ...] = USUAL_TERMS
    rounds: int = 3
    starts: tuple[float, ...] = (0.0, 0.25)

    name: ClassVar[str] = "negative-search"
    card: ClassVar[Card] = Card(
        changes="the negative prompt, and the share of the schedule from which on it acts",
        needs="a model that draws with an unconditional branch; dev examples that can be scored",
        pays_when="pictures show what they must not",
        costs="pictures on dev; nothing at each request, where guidance is on anyway",
        source="arXiv:2406.02965 (when negative prompts act); halving arXiv:1502.07943",
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "terms", as_terms(self.name, "terms", self.terms))
        check_whole_numbers(self, rounds=1)
        starts = tuple(float(s) for s in self.starts) if _numbers(self.starts) else ()
        if not starts or not all(0 <= s < 1 for s in starts):
            raise TechniqueError(
                f"negative-search: starts={self.starts!r} must be shares of the schedule, from 0 "
                "to below 1"
            )
        object.__setattr__(self, "starts", starts)

    def unmet_by_model(self, model: Model) -> str | None:
        """A model with guidance in its weights has no branch for a negative prompt."""
        if model.backend.facts.leads_away:
            return None
        return (
            f"{self.name}: the guidance of {model.backend.name} is part of its weights, and a "
            "negative prompt changes nothing"
        )

    def changes(self, model: Model, task: Task, number: int) -> Sequence[Change]:
        """Each term that is not there yet; in the last round, when they act."""
        prompt, decoding = model.adaptation.prompt, model.adaptation.decoding
        if number == self.rounds - 1 and number > 0:
            return [
                Change(
                    f"from {100 * start:g} % of the schedule on",
                    model.adapt(decoding=replace(decoding, negative_from=start)), 1,
                )
                for start in self.starts
                if prompt.negative and start != decoding.negative_from
            ]  # fmt: skip
        found = []
        for term in dict.fromkeys((*forbidden_terms(task), *self.terms)):
            if not holds(prompt.negative, term):
                new = replace(prompt, negative=joined(prompt.negative, term))
                found.append(Change(f"- {term}", model.adapt(prompt=new), 1))
        return found

    def chosen(self, model: Model) -> dict[str, Any]:
        """The negative prompt, and from when on it acts."""
        own = model.adaptation
        return {"negative": own.prompt.negative, "negative_from": own.decoding.negative_from}


def forbidden_terms(task: Task) -> tuple[str, ...]:
    """What the targets of the training examples say must not be seen, the commonest first: the
    parts between semicolons that begin with "no"."""
    counts: Counter[str] = Counter()
    for example in task.train:
        for part in example.target.split(";"):
            first, _, rest = part.strip().lower().partition(" ")
            if first == "no" and rest:
                counts[rest] += 1
    return tuple(term for term, _ in counts.most_common(MOST_FROM_TASK))


def _numbers(value: object) -> bool:
    return isinstance(value, Sequence) and all(
        isinstance(v, int | float) and not isinstance(v, bool) for v in value
    )
