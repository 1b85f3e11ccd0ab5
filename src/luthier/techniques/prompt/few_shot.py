"""Few-shot: solved examples in the prompt. Which, how many and in which order is settled on dev."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from luthier.models.model import Model
from luthier.records import Budget, Capability, Lineage
from luthier.task.task import Task
from luthier.techniques.base import Card, Footprint, Technique, check_needs, settings_of
from luthier.techniques.prompt.zero_shot import require_label_scores
from luthier.techniques.search.calibration import (
    allowed_calibrations,
    check_calibration,
    scores_labels,
)
from luthier.techniques.search.candidate import Candidate
from luthier.techniques.search.demonstration_sets import other_orders
from luthier.techniques.search.demonstrations import (
    SELECTIONS,
    DemonstrationPool,
    Selection,
    initial_demonstration_prompts,
    model_and_required_pool,
    without_label_list,
)
from luthier.techniques.search.evaluator import CandidateEvaluator
from luthier.techniques.search.halving import choose, ranked, successive_halving
from luthier.techniques.search.token_budget import TokenBudget
from luthier.techniques.setting_checks import check_choices, check_whole_numbers


@dataclass(frozen=True)
class FewShot(Technique):
    """Demonstrations from the training examples.

    **Settings**

    - `shots`: how many are shown; None chooses on dev, within the context window.
    - `selection`: a balanced random set ("random"), one that covers the inputs ("diverse"), the
      nearest to each input ("knn"), or whichever does best on dev ("auto").
    - `calibrate`: as in `ZeroShot`, but True is the best on dev of those that calibrate.
    - `sets`: random sets that are drawn for each number of shots.
    - `orders`: other orders in which the best fixed set is tried.

    The two best prompts are tried again without the list of labels.
    """

    shots: int | None = None
    selection: Selection = "auto"
    calibrate: bool | Literal["auto", "none", "contextual", "batch", "prior"] = "auto"
    sets: int = 3
    orders: int = 4

    name: ClassVar[str] = "few-shot"
    family: ClassVar[str] = "prompt"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.TEXT})
    trained: ClassVar[bool] = False
    footprint: ClassVar[Footprint] = Footprint(demonstrations=8)
    card: ClassVar[Card] = Card(
        changes="the prompt: solved examples, chosen and ordered on dev; the label biases",
        needs="text, a few labelled examples; log-probabilities to calibrate",
        pays_when="there are few examples or few requests, and the context has room",
        costs="a search on dev; every request is longer by the demonstrations",
        source="arXiv:2005.14165; nearest arXiv:2101.06804; order arXiv:2104.08786; "
        "calibration arXiv:2102.09690, arXiv:2309.17249",
    )

    def __post_init__(self) -> None:
        check_calibration(self.name, self.calibrate)
        check_choices(self, selection=SELECTIONS)
        check_whole_numbers(self, optional=("shots",), shots=1, sets=1, orders=0)

    @property
    def seeded(self) -> bool:
        """True unless each input gets its nearest examples, in a number and a way that are given.

        Sets are drawn at random, and dev is read in a random order until the budget is spent.
        """
        settled = self.shots is not None and self.calibrate in (False, "none")
        return not (self.selection == "knn" and settled)

    def fit(self, model: Model, task: Task, *, budget: Budget, seed: int = 0) -> Model:
        """The model with demonstrations before the input.

        Raises TechniqueError where not a single one fits the context window, and CapabilityError
        where a calibration is demanded of a model without log-probabilities.
        """
        check_needs(self, model)
        require_label_scores(self.name, self.calibrate, model, task)
        started, pool, notes = model_and_required_pool(model, task)
        evaluator = CandidateEvaluator(
            started,
            task,
            token_budget=TokenBudget.of(budget, model),
            calibrations=allowed_calibrations(
                self.calibrate, can_score=scores_labels(started, started.adaptation.decoding)
            ),
            seed=seed,
        )
        shots, more_notes = self._shots(pool)
        notes += more_notes
        prompts = initial_demonstration_prompts(
            started, pool, task, selection=self.selection, shots=shots, sets=self.sets, seed=seed
        )
        added = [evaluator.add(name, prompt, selection=kind) for kind, name, prompt in prompts]
        # Where little fits, two draws may be the same set: each is tried once.
        candidates = list(dict.fromkeys(added))
        reserve = evaluator.token_budget.left / 4
        finalists = successive_halving(evaluator, candidates, reserve=reserve)
        finalists = successive_halving(evaluator, self._refined(evaluator, finalists, seed=seed))
        choice = choose(finalists or candidates[:1])
        fitted = evaluator.fitted_model(choice.candidate, choice.calibration)
        shown = choice.candidate.prompt
        record = evaluator.record(
            train_examples=len(shown.demonstrations),
            dev_score=choice.dev_score,
            settled={
                "candidate": choice.candidate.name,
                "selection": choice.candidate.changes["selection"],
                "shots": shown.shots or len(shown.demonstrations),
                "calibration": choice.calibration,
            },
            notes=(*notes, *choice.notes),
        )
        lineage = Lineage(
            self.name, settings_of(self), seed, record, model.lineage, task.example_hashes
        )
        return fitted.adapt(lineage=lineage)

    def _shots(self, pool: DemonstrationPool) -> tuple[int | None, tuple[str, ...]]:
        if self.shots is None or self.shots <= pool.max_shots:
            return self.shots, ()
        return pool.max_shots, (f"{self.shots} shots do not fit: {pool.max_shots} were used.",)

    def _refined(
        self, evaluator: CandidateEvaluator, finalists: list[Candidate], *, seed: int
    ) -> list[Candidate]:
        """The finalists together with variants of the two best: without the list of labels, which
        the demonstrations show anyway, and the better fixed set in other orders."""
        changed = [(c, "labels unlisted", without_label_list(c.prompt)) for c in finalists[:2]]
        fixed = next((c for c in finalists[:2] if c.prompt.selection == "all"), None)
        if fixed is not None:
            shown = fixed.prompt.demonstrations
            for place, order in enumerate(other_orders(shown, self.orders, seed=seed), start=2):
                reordered = replace(fixed.prompt, demonstrations=order)
                changed.append((fixed, f"order {place}", reordered))
        variants = [
            evaluator.add(f"{parent.name}, {what}", prompt, selection=parent.changes["selection"])
            for parent, what, prompt in changed
            if prompt != parent.prompt
        ]
        return ranked([*finalists, *successive_halving(evaluator, variants)])
