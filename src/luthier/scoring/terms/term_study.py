"""A study: which terms of a prompt change the score, and by how much.

The terms are shown and left out by a design (`designs`), the same examples for all that is
compared, and the answers are scored by the scorer of the task. The test split is not touched.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from luthier.context import WorkContext, report_progress, working
from luthier.errors import BudgetError, TaskError, UserError
from luthier.models.model import Model
from luthier.models.prompt import Prompt
from luthier.scoring.evaluation import score_samples
from luthier.scoring.resolve import scorer_for
from luthier.scoring.terms.designs import (
    Trial,
    factorial,
    leave_one_out,
    permutations,
    smallest,
)
from luthier.scoring.terms.effect_estimates import estimate_effects
from luthier.scoring.terms.effects import TermEffects
from luthier.scoring.terms.prompt_terms import Term, terms_of, with_terms
from luthier.scoring.terms.term_plan import TermPlan, plan_of
from luthier.serialization import to_plain
from luthier.task.task import Task

DESIGNS = ("factorial", "leave-one-out", "permutations")
USUAL_TRIALS = 1024
MOST_TERMS = 24
COUNTED = {  # what trials and units are, in words
    "text": ("answers to", "dev examples"),
    "pictures": ("pictures of", "requests with a seed each"),
}


@dataclass(frozen=True, slots=True)
class TermStudy:
    """The terms of a prompt and their effects on `metric`. `score` is the mean over all trials,
    `counted` what trials and units are."""

    task: str
    model: str
    metric: str
    terms: tuple[Term, ...]
    effects: TermEffects
    score: float
    seconds: float
    higher_is_better: bool = True
    notes: tuple[str, ...] = field(default=())
    counted: tuple[str, str] = COUNTED["text"]

    def to_json(self) -> dict[str, Any]:
        """The study as `luthier terms --json` prints it."""
        return {
            "task": self.task,
            "model": self.model,
            "metric": self.metric,
            "design": self.effects.design,
            "trials": self.effects.trials,
            "examples": self.effects.units,
            "mean_score": self.score,
            "seconds": round(self.seconds, 2),
            "terms": [
                {**to_plain(term), **_plain(effect), "acts": effect.acts}
                for term, effect in zip(self.terms, self.effects.effects, strict=True)
            ],
            "pairs": [{**_plain(pair), "acts": pair.acts} for pair in self.effects.pairs],
            "notes": list(self.notes),
        }


def _plain(effect: Any) -> dict[str, Any]:
    """An effect as plain values; ends that are not known are None."""
    plain: dict[str, Any] = to_plain(effect)
    return {
        name: None if isinstance(value, float) and not np.isfinite(value) else value
        for name, value in plain.items()
    }


def study_terms(
    model: Model,
    task: Task,
    *,
    trials: int = USUAL_TRIALS,
    design: str = "factorial",
    added: Sequence[str] = (),
    seed: int = 0,
) -> TermStudy:
    """Score trials of the prompt's terms on dev examples, and read the effects.

    **Arguments**

    - `model`: its prompt is studied; of a bare base, the prompt of the task.
    - `trials`: answers to score, at most.
    - `design`: one of `DESIGNS`.
    - `added`: sentences to try behind the instruction.

    UserError for a prompt with fewer than two terms or too many, BudgetError where `trials` are
    fewer than the design takes. Nothing is computed before that.
    """
    model, prompt, terms = _with_terms_of(model, task, added)
    planned = plan_trials(terms, task, trials=trials, design=design, seed=seed)
    started, scorer = time.perf_counter(), scorer_for(task)
    values = np.full(len(planned), np.nan)
    by_shown: dict[tuple[bool, ...], list[int]] = {}
    for number, trial in enumerate(planned):
        by_shown.setdefault(trial.shown, []).append(number)
    done = 0
    for shown, numbers in by_shown.items():
        report_progress(done, len(planned), f"{done} of {len(planned)} trials")
        one = model.adapt(prompt=with_terms(prompt, terms, shown))
        examples = [task.dev[planned[number].unit] for number in numbers]
        with working(WorkContext()):  # the progress that counts is that of the study
            samples, _ = score_samples(one, examples, scorer=scorer, seed=seed)
        values[numbers] = [sample.value for sample in samples]
        done += len(numbers)
    return TermStudy(
        task=task.name,
        model=model.backend.name,
        metric=scorer.metric,
        terms=terms,
        effects=estimate_effects(design, planned, values.tolist()),
        score=float(values.mean()),
        seconds=time.perf_counter() - started,
        higher_is_better=scorer.higher_is_better,
        notes=_notes(scorer.metric, scorer.is_corpus_level),
    )


def plan_terms(
    model: Model,
    task: Task,
    *,
    trials: int = USUAL_TRIALS,
    design: str = "factorial",
    added: Sequence[str] = (),
) -> TermPlan:
    """What `study_terms` would take; its errors."""
    model, _, terms = _with_terms_of(model, task, added)
    return plan_of(design, plan_trials(terms, task, trials=trials, design=design))


def _with_terms_of(
    model: Model, task: Task, added: Sequence[str]
) -> tuple[Model, Prompt, tuple[Term, ...]]:
    """The model as it is studied, its whole prompt, and the terms of that."""
    if not model.adaptation.filled:
        model = model.adapt(prompt=task.base_prompt(), decoding=task.base_decoding(model.backend))
    return model, *terms_of(model.adaptation.prompt, added)


def plan_trials(
    terms: Sequence[Term], task: Task, *, trials: int, design: str, seed: int = 0
) -> list[Trial]:
    """The trials of a study, before any is scored. Errors as in `study_terms`."""
    check_budget(terms, trials=trials, design=design)
    if not task.dev:
        raise TaskError(f"task {task.name!r} has no dev examples", next_step="Give it some.")
    units = list(range(len(task.dev)))
    random.Random(seed).shuffle(units)
    if design == "factorial":
        # Each example is seen at least twice, so that what it adds by itself is no noise.
        return factorial(len(terms), units[: max(1, trials // 4)], trials, seed=seed)
    count = trials // (len(terms) + 1)
    if design == "leave-one-out":
        return leave_one_out(len(terms), units[:count])
    return permutations(len(terms), [units[i % len(units)] for i in range(count)], seed=seed)


def check_budget(
    terms: Sequence[Term], *, trials: int, design: str,
    more: str = "--add 'Think twice.'", unit: str = "trials",
) -> None:  # fmt: skip
    """UserError where there is no such design, or too few terms or too many for a study;
    BudgetError where `trials` are fewer than it takes. `more` says how terms are added."""
    if design not in DESIGNS:
        raise UserError(f"there is no design {design!r}", choices=DESIGNS)
    if len(terms) < 2:
        raise UserError(
            f"the prompt has {len(terms)} term{'s' * (len(terms) != 1)}, and a study compares two "
            "or more",
            next_step=f"Give it more terms, or terms to try: {more}",
        )
    if len(terms) > MOST_TERMS:
        raise UserError(
            f"the prompt has {len(terms)} terms, more than {MOST_TERMS}",
            next_step="Study a prompt with fewer terms.",
        )
    least = smallest(len(terms)) if design == "factorial" else 2 * (len(terms) + 1)
    if trials < least:
        raise BudgetError(
            f"{trials} {unit} are fewer than the {least} that {len(terms)} terms take",
            next_step=f"--trials {least}, or better {8 * least}.",
        )


def _notes(metric: str, corpus_level: bool) -> tuple[str, ...]:
    if not corpus_level:
        return ()
    return (
        f"{metric} is made of all examples together; the effects are those on the scores of single "
        "examples.",
    )
