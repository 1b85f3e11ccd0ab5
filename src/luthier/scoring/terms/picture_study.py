"""A study of the terms of a prompt for pictures.

A unit is a request with a seed: all prompts draw it from the same noise, so that two pictures
differ by their terms. The pictures of many prompts are drawn together, and the scorer of the task
scores them. The test split is not touched.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from luthier.context import report_progress
from luthier.errors import TaskError
from luthier.images.drawing import Pixels
from luthier.images.picture_files import open_picture
from luthier.models.drawing_prompt import drawing_requests
from luthier.models.model import Model
from luthier.records import Example
from luthier.scoring.resolve import scorer_for
from luthier.scoring.scorer import Scorer
from luthier.scoring.terms.contact_sheet import ContactSheet, sheet_of
from luthier.scoring.terms.designs import Trial, factorial, leave_one_out, permutations
from luthier.scoring.terms.effect_estimates import estimate_effects
from luthier.scoring.terms.effects import TermEffects
from luthier.scoring.terms.picture_terms import (
    contradictions,
    picture_terms_of,
    repeated,
    with_picture_terms,
)
from luthier.scoring.terms.prompt_terms import Term
from luthier.scoring.terms.term_plan import TermPlan, plan_of
from luthier.scoring.terms.term_study import COUNTED, TermStudy, check_budget
from luthier.task.task import Task

USUAL_PICTURES = 512
COLUMNS = 6  # of the contact sheet
MOST_ROWS = 14
CHUNK = 64  # pictures between two reports of progress
EACH_SEEN = 8  # pictures that a factorial design draws of each unit, at least


@dataclass(frozen=True, slots=True)
class PictureDesign:
    """How terms are tried.

    **Fields**

    - `pictures`: those that are scored, at most; `columns` (K + 2) more are shown in the sheet.
    - `design`: "factorial", "leave-one-out" or "permutations".
    - `added`, `negatives`: phrases to try behind the prompt's own and among its negative ones.
    - `seed`: of the design and of the noise.
    """

    pictures: int = USUAL_PICTURES
    design: str = "factorial"
    added: tuple[str, ...] = ()
    negatives: tuple[str, ...] = ()
    columns: int = COLUMNS
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class PictureStudy:
    """The effects of terms on the score of a picture, and pictures to see them by."""

    study: TermStudy
    sheet: ContactSheet
    requests: int
    plan: TermPlan = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """The study as `luthier terms --json` prints it."""
        found = self.study.to_json()
        found["requests"] = self.requests
        found["pictures"] = self.plan.trials + self.plan.sheet
        for number, term in enumerate(found["terms"]):
            term["changed_pixels"] = self.sheet.changed_by(number)
        return found


@dataclass(frozen=True, slots=True, eq=False)
class _Ready:
    """A study that can begin. `units` are requests with seeds, by number."""

    model: Model
    terms: tuple[Term, ...]
    trials: list[Trial]
    units: list[tuple[Example, int]]
    plan: TermPlan


def plan_picture_terms(model: Model, task: Task, design: PictureDesign | None = None) -> TermPlan:
    """What a study will take. Errors as in `study_picture_terms`."""
    return _ready(model, task, design or PictureDesign()).plan


def study_picture_terms(
    model: Model, task: Task, design: PictureDesign | None = None
) -> PictureStudy:
    """Draw and score pictures under a design of the prompt's terms, and read the effects.

    CapabilityError for a model that does not draw, UserError for a prompt with fewer than two terms
    or too many, BudgetError where the pictures are fewer than the design takes; all before anything
    is drawn.
    """
    design = design or PictureDesign()
    ready = _ready(model, task, design)
    started, scorer = time.perf_counter(), scorer_for(task)
    total = len(ready.trials) + ready.plan.sheet
    drawing = _Drawing(ready, scorer, total)
    scores, _ = drawing.draw([(t.shown, t.unit) for t in ready.trials])
    effects = estimate_effects(design.design, ready.trials, scores)
    sheet = _sheet(drawing, effects, design.columns)
    study = TermStudy(
        task=task.name,
        model=model.backend.name,
        metric=scorer.metric,
        terms=ready.terms,
        effects=effects,
        score=float(np.mean(scores)),
        seconds=time.perf_counter() - started,
        higher_is_better=scorer.higher_is_better,
        notes=tuple(dict.fromkeys((*_notes(ready.terms, model), *model.backend.notes))),
        counted=COUNTED["pictures"],
    )
    return PictureStudy(study, sheet, len({e.id for e, _ in ready.units}), ready.plan)


def _ready(model: Model, task: Task, design: PictureDesign) -> _Ready:
    task.check_suits(model.backend)
    if not model.adaptation.filled:
        model = model.adapt(prompt=task.base_prompt(), decoding=task.base_decoding(model.backend))
    prompt, terms = picture_terms_of(model.adaptation.prompt, design.added, design.negatives)
    check_budget(
        terms, trials=design.pictures, design=design.design,
        more="--add 'glowing' --negative 'blurry'", unit="pictures",
    )  # fmt: skip
    if not task.dev:
        raise TaskError(f"task {task.name!r} has no dev examples", next_step="Give it some.")
    order = list(task.dev)
    random.Random(design.seed).shuffle(order)
    count = len(terms)
    if design.design == "factorial":
        numbers = range(max(1, design.pictures // EACH_SEEN))
        trials = factorial(count, numbers, design.pictures, seed=design.seed)
    elif design.design == "leave-one-out":
        numbers = range(design.pictures // (count + 1))
        trials = leave_one_out(count, numbers)
    else:
        numbers = range(design.pictures // (count + 1))
        trials = permutations(count, numbers, seed=design.seed)
    most = max(len(numbers), design.columns)
    units = [(order[n % len(order)], design.seed + n // len(order)) for n in range(most)]
    rows = min(MOST_ROWS, count + 2)
    each = _seconds_each(model)
    plan = plan_of(design.design, trials, sheet=rows * design.columns, seconds_each=each)
    return _Ready(model.adapt(prompt=prompt), terms, trials, units, plan)


def _seconds_each(model: Model) -> float | None:
    speed = model.backend.tokens_per_second()
    return None if not speed else model.backend.answer_tokens(model.adaptation.decoding) / speed


class _Drawing:
    """Draws and scores pictures of variants, many at a time, and tells how far it is."""

    def __init__(self, ready: _Ready, scorer: Scorer, total: int) -> None:
        self.ready, self.scorer = ready, scorer
        self.total, self.done = total, 0
        self.models: dict[tuple[bool, ...], Model] = {}

    def draw(
        self, asked: Sequence[tuple[tuple[bool, ...], int]], *, keep: bool = False
    ) -> tuple[list[float], list[Pixels]]:
        """The score of each variant of each unit; with `keep` the pictures as well."""
        order = sorted(range(len(asked)), key=lambda i: asked[i][1])  # one seed, one batch
        scores, pictures = [0.0] * len(asked), [np.zeros((1, 1, 3), np.uint8)] * len(asked)
        backend = self.ready.model.backend
        for start in range(0, len(order), CHUNK):
            report_progress(self.done, self.total, f"{self.done} of {self.total} pictures")
            some = order[start : start + CHUNK]
            requests, examples = [], []
            for i in some:
                shown, unit = asked[i]
                example, seed = self.ready.units[unit]
                requests += drawing_requests(self._variant(shown), [example], seed=seed)
                examples.append(example)
            bare = self.ready.model.adaptation
            for i, example, found in zip(
                some, examples, backend.generate(requests, bare), strict=True
            ):
                scores[i] = self.scorer.of(found.text, example.target, question=example.text)
                if keep:
                    pictures[i] = open_picture(found.text)
            self.done += len(some)
        return scores, pictures if keep else []

    def _variant(self, shown: tuple[bool, ...]) -> Model:
        model = self.ready.model
        if shown not in self.models:
            prompt = with_picture_terms(model.adaptation.prompt, self.ready.terms, shown)
            self.models[shown] = model.adapt(prompt=prompt)
        return self.models[shown]


def _sheet(drawing: _Drawing, effects: TermEffects, columns: int) -> ContactSheet:
    """Pictures with all terms, with all but one, the largest effects first, and with none."""
    terms = drawing.ready.terms
    largest = sorted(effects.effects, key=lambda e: -abs(e.value))[: MOST_ROWS - 2]
    everything = (True,) * len(terms)
    names: list[tuple[str, int | None]] = [("all terms", None)]
    masks = [everything]
    for effect in largest:
        names.append((f"without “{terms[effect.term].text}”", effect.term))
        masks.append(tuple(i != effect.term for i in range(len(terms))))
    names.append(("no terms", None))
    masks.append((False,) * len(terms))
    asked = [(mask, unit) for mask in masks for unit in range(columns)]
    scores, pictures = drawing.draw(asked, keep=True)
    starts = range(0, len(asked), columns) if columns else ()
    return sheet_of(
        names if columns else [],
        [pictures[s : s + columns] for s in starts],
        [scores[s : s + columns] for s in starts],
        [drawing.ready.units[unit][0].text for unit in range(columns)],
    )


def _notes(terms: Sequence[Term], model: Model) -> tuple[str, ...]:
    notes = []
    if any(t.part == "negative" for t in terms) and not model.backend.facts.leads_away:
        notes.append(
            f"The guidance of {model.backend.name} is part of its weights: its negative terms are "
            "inert."
        )
    both, twice = contradictions(terms), repeated(terms)
    if both:
        names = "; ".join(f"“{text}”" for text in both)
        notes.append(f"Asked for and asked to be left out: {names}. The two work against another.")
    if twice:
        names = "; ".join(f"“{text}”" for text in twice)
        notes.append(f"Stands twice: {names}. What one does, the other hides.")
    return tuple(notes)
