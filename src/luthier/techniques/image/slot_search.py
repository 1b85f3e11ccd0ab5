"""A search over how pictures are asked for: one slot of the adaptation, changed step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from luthier.models.model import Model
from luthier.records import Budget, Capability, Lineage
from luthier.task.task import Task
from luthier.techniques.base import Footprint, Technique, check_needs, settings_of
from luthier.techniques.search.candidate import Candidate
from luthier.techniques.search.evaluator import CandidateEvaluator
from luthier.techniques.search.halving import NOT_SEARCHED, close_to_best, successive_halving
from luthier.techniques.search.token_budget import TokenBudget
from luthier.training.starting_prompt import starting_model

UNCHANGED = "as it was"  # what the model brings


@dataclass(frozen=True, slots=True)
class Change:
    """One change that a search tries: its name, and the model with it. `weight` is how much it says
    more than the model did before: of two that do equally well, the lighter one is taken."""

    name: str
    model: Model
    weight: int


class SlotSearch(Technique):
    """Rounds of changes to the best so far; each round is a successive halving on dev.

    All candidates draw the same dev examples from the same noise, so that their differences are
    paired. The search ends where a round finds nothing that is better by more than a standard
    error: of those that are no worse than the best, the one that says least is chosen.

    A subclass is a frozen dataclass; it says in `changes` what a round tries, and in `rounds` how
    many there are at most, where there are several.
    """

    rounds: int = 1

    family: ClassVar[str] = "prompt"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.DRAWING})
    trained: ClassVar[bool] = False
    footprint: ClassVar[Footprint] = Footprint()

    def changes(self, model: Model, task: Task, number: int) -> Sequence[Change]:
        """What round `number` (from 0) tries on the model that is best so far, in order of
        promise."""
        raise NotImplementedError

    @property
    def seeded(self) -> bool:
        """True: the noise and the order of the dev examples are drawn at random."""
        return True

    def chosen(self, model: Model) -> dict[str, Any]:
        """What the search settled on, for display."""
        raise NotImplementedError

    def fit(self, model: Model, task: Task, *, budget: Budget, seed: int = 0) -> Model:
        """The model with what the search chose."""
        check_needs(self, model)
        evaluator = CandidateEvaluator(
            starting_model(model, task),
            task,
            token_budget=TokenBudget.of(budget, model),
            calibrations=("none",),
            seed=seed,
        )
        best = evaluator.add_model(UNCHANGED, evaluator.model, part="start")
        weights = {id(best): 0}
        for number in range(self.rounds):
            found = self._round(evaluator, best, weights, number=number)
            if found is best:
                break
            best = found
        searched = bool(best.scores)
        record = evaluator.record(
            train_examples=0,
            dev_score=best.best[1] if searched else None,
            settled={"candidate": best.name, **self.chosen(best.model)},
            notes=(_note(best, evaluator),) if searched else (NOT_SEARCHED,),
        )
        lineage = Lineage(
            self.name, settings_of(self), seed, record, model.lineage, task.example_hashes
        )
        return best.model.adapt(lineage=lineage)

    def _round(
        self, evaluator: CandidateEvaluator, best: Candidate, weights: dict[int, int], *,
        number: int,
    ) -> Candidate:  # fmt: skip
        """The best candidate after a round; the same one where nothing did better."""
        candidates = [best]
        for change in self.changes(best.model, evaluator.task, number):
            name = change.name if best.name == UNCHANGED else f"{best.name}, {change.name}"
            candidate = evaluator.add_model(
                name, change.model, part=self.name.partition("-")[0], change=change.name
            )
            weights.setdefault(id(candidate), weights[id(best)] + change.weight)
            if candidate not in candidates:
                candidates.append(candidate)
        if len(candidates) == 1:
            return best
        left = evaluator.token_budget.left
        later = left - left / min(2, self.rounds - number)
        finalists = successive_halving(evaluator, candidates, reserve=later, least_reserve=0.0)
        if not finalists:
            return best
        # The unchanged one competes as well, on as many examples, where the budget pays for it.
        most = max(len(c.answers) for c in finalists)
        if best not in finalists and evaluator.evaluate(best, most):
            finalists.append(best)
        rivals = sorted(finalists, key=lambda c: (-len(c.answers), -c.best[1]))
        close = close_to_best(rivals, errors=1.0)
        return min(close, key=lambda c: (weights[id(c)], -c.best[1]))


def _note(best: Candidate, evaluator: CandidateEvaluator) -> str:
    mean = float(np.mean(best.scores["none"]))
    return (
        f"Chosen among {len(evaluator.candidates)} by {len(best.answers)} dev examples, each drawn "
        f"from one noise: {best.name} ({mean:.3f}), the one that says least of those within a "
        "standard error of the best. A dev score that was searched for is optimistic; the test "
        "score is the one to believe."
    )
