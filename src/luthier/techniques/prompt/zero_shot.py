"""Zero-shot: the task's own words and nothing else. Everything else is measured against it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from luthier.errors import CapabilityError
from luthier.models.model import Model
from luthier.records import Budget, Capability, FitRecord, Lineage
from luthier.task.task import Task
from luthier.techniques.base import Card, Footprint, Technique, check_needs, settings_of
from luthier.techniques.search.calibration import (
    allowed_calibrations,
    check_calibration,
    scores_labels,
)
from luthier.techniques.search.context_window import shrink_to_context
from luthier.techniques.search.evaluator import CandidateEvaluator
from luthier.techniques.search.halving import choose
from luthier.techniques.search.token_budget import TokenBudget
from luthier.training.starting_prompt import starting_decoding, starting_prompt


@dataclass(frozen=True)
class ZeroShot(Technique):
    """The instruction, the labels and the input.

    **Settings**

    - `calibrate`: whether and how a label bias is estimated. False: not at all; True or
      "contextual": from content-free inputs, so that no example is used; "batch" or "prior": from
      dev inputs without their targets ("prior" also counts training targets); "auto": whichever
      does best on dev, none included. Each but False replaces a bias that the model brings along.
    """

    calibrate: bool | Literal["auto", "none", "contextual", "batch", "prior"] = False

    name: ClassVar[str] = "zero-shot"
    family: ClassVar[str] = "prompt"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.TEXT})
    draws: ClassVar[bool] = True
    trained: ClassVar[bool] = False
    footprint: ClassVar[Footprint] = Footprint(tunes=False)
    card: ClassVar[Card] = Card(
        changes="the prompt: the task's instruction, context and labels",
        needs="text or drawn pictures; log-probabilities to calibrate",
        pays_when="there are no examples, or the model already does the task",
        costs="nothing to fit; a short prompt at each request",
        source="arXiv:2005.14165, section 2; calibration arXiv:2102.09690, section 5",
    )

    def __post_init__(self) -> None:
        check_calibration(self.name, self.calibrate)

    def fit(self, model: Model, task: Task, *, budget: Budget, seed: int = 0) -> Model:
        """The model with the task's prompt, or with the prompt it already brings for this task.

        Raises CapabilityError where a calibration is asked of a model without log-probabilities.
        """
        check_needs(self, model)
        decoding = starting_decoding(model, task)
        calibrations = allowed_calibrations(
            "contextual" if self.calibrate is True else self.calibrate,
            can_score=scores_labels(model, decoding),
        )
        require_label_scores(self.name, self.calibrate, model, task)
        started = model.adapt(prompt=starting_prompt(model, task), decoding=decoding)
        fitted, notes = shrink_to_context(started, (*task.train, *task.dev))
        evaluator = CandidateEvaluator(
            fitted,
            task,
            token_budget=TokenBudget.of(budget, model),
            calibrations=calibrations,
            seed=seed,
        )
        calibration: str | None = None
        dev_score: float | None = None
        if calibrations != ("none",):
            candidate = evaluator.add(self.name, fitted.adaptation.prompt)
            without_examples = calibrations == ("contextual",)
            count = 0 if without_examples else len(evaluator.examples)
            if not evaluator.evaluate(candidate, count):
                notes += ("Not calibrated: the budget does not pay for it.",)
            elif without_examples:
                fitted, calibration = evaluator.fitted_model(candidate, "contextual"), "contextual"
            elif candidate.answers:
                choice = choose([candidate])
                fitted = evaluator.fitted_model(candidate, choice.calibration)
                calibration, dev_score = choice.calibration, choice.dev_score
        record = FitRecord(
            fit_seconds=evaluator.seconds,
            spent_tokens=evaluator.token_budget.spent,
            trainable_parameters=0,
            train_examples=0,
            dev_score=dev_score,
            settled={} if calibration is None else {"calibration": calibration},
            history=tuple(evaluator.history),
            notes=notes,
        )
        lineage = Lineage(self.name, settings_of(self), seed, record, model.lineage)
        return fitted.adapt(lineage=lineage)


def require_label_scores(technique: str, calibrate: object, model: Model, task: Task) -> None:
    """CapabilityError where a calibration is demanded by name and labels cannot be scored."""
    if calibrate in (False, "auto", "none") or not task.labels:
        return
    if Capability.LOGPROBS not in model.capabilities:
        raise CapabilityError(
            f"{technique} with calibrate={calibrate!r} needs log-probabilities, which "
            f"{model.backend.name} does not give",
            next_step="Use calibrate=False, or a local model.",
        )
