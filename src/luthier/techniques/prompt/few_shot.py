"""Few-shot: solved examples in the prompt; which, how many, in which order, is settled on dev."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from luthier.errors import TechniqueError
from luthier.models.model import Model
from luthier.records import Budget, Capability, FitRecord, Lineage
from luthier.task.task import Task
from luthier.techniques.base import Card, Footprint, Technique, check_needs, settings_of
from luthier.techniques.prompt.zero_shot import demand_scores
from luthier.techniques.search.calibration import allowed, check_setting
from luthier.techniques.search.demonstrations import (
    SELECTIONS,
    Selection,
    Supply,
    first_sets,
    orders,
    prepared,
    unlisted,
)
from luthier.techniques.search.evaluator import CandidateEvaluator, Trial
from luthier.techniques.search.halving import choose, halve, ranked
from luthier.techniques.search.starting_prompt import scores_labels
from luthier.techniques.search.token_budget import TokenBudget


@dataclass(frozen=True)
class FewShot(Technique):
    """Demonstrations from the training examples.

    `shots` None: chosen on dev, within the context. `selection`: a balanced random set, one that
    covers the inputs ("diverse"), the nearest to each input ("knn"), or the best of these
    ("auto"). `sets` random sets are drawn for each number of shots. The two best are tried again
    without the list of labels, the best fixed set also in `orders` other orders. `calibrate` is as
    in `ZeroShot`, True meaning the best on dev of those that calibrate.
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
        check_setting(self.name, self.calibrate)
        if self.selection not in SELECTIONS:
            raise TechniqueError(
                f"few-shot: selection={self.selection!r} is unknown", choices=SELECTIONS
            )
        for setting, least in (("shots", 1), ("sets", 1), ("orders", 0)):
            value = getattr(self, setting)
            if value is None and setting == "shots":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise TechniqueError(
                    f"few-shot: {setting}={value!r} must be a whole number of at least {least}"
                )

    def fit(self, model: Model, task: Task, *, budget: Budget, seed: int = 0) -> Model:
        """The model with demonstrations before the input.

        Raises TechniqueError where not a single one fits the context, CapabilityError where a
        calibration is demanded of a model without log-probabilities.
        """
        check_needs(self, model)
        demand_scores(self.name, self.calibrate, model, task)
        started, offer, notes = prepared(model, task)
        evaluator = CandidateEvaluator(
            started,
            task,
            token_budget=TokenBudget.of(budget, model),
            calibrations=allowed(
                self.calibrate, can_score=scores_labels(started, started.adaptation.decoding)
            ),
            seed=seed,
        )
        shots, more = self._shots(offer)
        notes += more
        # Where little fits, two draws may be the same set: each is tried once.
        ways = first_sets(
            started, offer, task, selection=self.selection, shots=shots, sets=self.sets, seed=seed
        )
        trials = list(
            dict.fromkeys(
                evaluator.enter(name, prompt, selection=way) for way, name, prompt in ways
            )
        )
        finalists = halve(evaluator, trials, keep=evaluator.token_budget.left / 4)
        finalists = halve(evaluator, self._refined(evaluator, finalists, seed=seed))
        choice = choose(finalists or trials[:1])
        fitted = evaluator.fitted(choice.trial, choice.calibration)
        shown = choice.trial.prompt
        record = FitRecord(
            fit_seconds=evaluator.seconds,
            spent_tokens=evaluator.token_budget.spent,
            trainable_parameters=0,
            train_examples=len(shown.demonstrations),
            dev_score=choice.dev_score,
            settled={
                "candidate": choice.trial.name,
                "selection": choice.trial.changes["selection"],
                "shots": shown.shots or len(shown.demonstrations),
                "calibration": choice.calibration,
            },
            history=tuple(evaluator.history),
            notes=(*notes, *choice.notes),
        )
        lineage = Lineage(self.name, settings_of(self), seed, record, model.lineage)
        return fitted.adapt(lineage=lineage)

    def _shots(self, offer: Supply) -> tuple[int | None, tuple[str, ...]]:
        if self.shots is None or self.shots <= offer.most:
            return self.shots, ()
        return offer.most, (f"{self.shots} shots do not fit: {offer.most} were used.",)

    def _refined(
        self, evaluator: CandidateEvaluator, finalists: list[Trial], *, seed: int
    ) -> list[Trial]:
        """The two best, beside them the same without the list of labels, which the demonstrations
        show anyway, and the best fixed set of the two in other orders."""
        changed = [(t, "labels unlisted", unlisted(t.prompt)) for t in finalists[:2]]
        fixed = next((t for t in finalists[:2] if t.prompt.selection == "all"), None)
        if fixed is not None:
            shown = fixed.prompt.demonstrations
            for place, order in enumerate(orders(shown, self.orders, seed=seed), start=2):
                reordered = replace(fixed.prompt, demonstrations=order)
                changed.append((fixed, f"order {place}", reordered))
        others = [
            evaluator.enter(f"{trial.name}, {how}", prompt, selection=trial.changes["selection"])
            for trial, how, prompt in changed
            if prompt != trial.prompt
        ]
        return ranked([*finalists, *halve(evaluator, others)])
