"""Recipes: techniques in order. Each starts from the model that the one before it returned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from luthier.errors import TechniqueError
from luthier.models.model import Model
from luthier.records import Budget, Capability, FitRecord, Lineage, StepRecord
from luthier.task.task import Task
from luthier.techniques.base import Card, Footprint, Technique, check_needs, settings_of

ARROW = "->"
MOST_SCORED = 200  # dev examples on which the model after each step is scored


@dataclass(frozen=True)
class Recipe(Technique):
    """Techniques in order. `Recipe.parse` reads them from one text with arrows, `Recipe.of` takes
    techniques.

    `steps` are written as a user writes them: ("few-shot(shots=8)", "lora"). The budget of a
    step is an equal share of what the steps before it left.
    """

    steps: tuple[str, ...]

    family: ClassVar[str] = "recipe"
    card: ClassVar[Card] = Card(
        changes="what its techniques change, one after the other",
        needs="what its techniques need",
        pays_when="one technique asks for a skill and another teaches it: a prompt, then weights",
        costs="the fits of all steps; the requests of the longest prompt among them",
        source="arXiv:2407.10930 (BetterTogether)",
    )

    def __post_init__(self) -> None:
        steps = (self.steps,) if isinstance(self.steps, str) else tuple(self.steps)
        if len(steps) < 2:
            raise TechniqueError(
                f"A recipe needs two techniques or more, this one has {len(steps)}",
                next_step=f'Write them with an arrow: "few-shot {ARROW} lora".',
            )
        # One spelling for one recipe, and an error now for a step that cannot be made.
        object.__setattr__(self, "steps", tuple(_normalised(step) for step in steps))

    @classmethod
    def parse(cls, text: str) -> Recipe:
        """The recipe that `text` writes: "few-shot -> lora(rank=4)".

        Raises TechniqueError, with what was meant, for a step that is no technique.
        """
        return cls(tuple(part.strip() for part in text.split(ARROW)))

    @classmethod
    def of(cls, *techniques: Technique) -> Recipe:
        """The recipe of these techniques, in this order."""
        from luthier.techniques.spelling import spell

        return cls(tuple(spell(technique) for technique in techniques))

    def chain(self) -> tuple[Technique, ...]:
        """The techniques in their order."""
        from luthier.techniques.spelling import parse_technique

        return tuple(parse_technique(step) for step in self.steps)

    @property
    def name(self) -> str:  # type: ignore[override]
        """How the recipe is written, "few-shot -> lora"."""
        return f" {ARROW} ".join(self.steps)

    @property
    def needs(self) -> frozenset[Capability]:  # type: ignore[override]
        """What any step needs."""
        return frozenset().union(*(t.needs for t in self.chain()))

    @property
    def trained(self) -> bool:  # type: ignore[override]
        """Whether any step trains."""
        return any(t.trained for t in self.chain())

    @property
    def seeded(self) -> bool:
        """Whether a fit of any step depends on its seed."""
        return any(t.seeded for t in self.chain())

    @property
    def footprint(self) -> Footprint:  # type: ignore[override]
        """The most of what any step takes."""
        each = [t.footprint for t in self.chain()]
        return Footprint(
            tunes=any(f.tunes for f in each),
            demonstrations=max(f.demonstrations for f in each),
            passages=max(f.passages for f in each),
            gradients=any(f.gradients for f in each),
            copies_weights=any(f.copies_weights for f in each),
            fit_speed=min(f.fit_speed for f in each),
        )

    def unmet_by_task(self, task: Task) -> str | None:
        """What the first step that misses something in the task misses there.

        Of the steps that look things up only the first is asked: the later ones go on from the
        knowledge that it found.
        """
        looks_up = False
        for technique in self.chain():
            if technique.footprint.passages and looks_up:
                continue
            looks_up = looks_up or bool(technique.footprint.passages)
            reason = technique.unmet_by_task(task)
            if reason is not None:
                return f"{technique.name}: {reason}"
        return None

    def unmet_by_model(self, model: Model) -> str | None:
        """Why the base does not suit one of the steps; None where it suits all."""
        found = (t.unmet_by_model(model) for t in self.chain())
        return next((reason for reason in found if reason), None)

    def passes(self, model: Model, task: Task, tokens: int) -> float | None:
        """Those of the step that sees the examples least, with an equal share of the tokens."""
        steps = self.chain()
        found = [step.passes(model, task, tokens // len(steps)) for step in steps]
        return min((passes for passes in found if passes is not None), default=None)

    def content(self) -> str | None:
        """What the steps name on disk."""
        found = [content for t in self.chain() if (content := t.content())]
        return " ".join(found) or None

    def fit(self, model: Model, task: Task, *, budget: Budget, seed: int = 0) -> Model:
        """The model after the last step. Its record has a part for each step, with the dev score of
        the model after it.

        Scoring the steps on dev (at most 200 examples) is not part of the budget, of `spent_tokens`
        or of `fit_seconds`: it is what a comparison does with a finished model.
        """
        check_needs(self, model)
        parts: list[StepRecord] = []
        left = budget
        chain = self.chain()
        for place, (step, technique) in enumerate(zip(self.steps, chain, strict=True)):
            share = step_budget(left, place, len(self.steps))
            start, own_task = model, task
            for later in chain[place + 1 :] if technique.trained else ():
                start, own_task = later.before(start, own_task)
            model = technique.fit(start, own_task, budget=share, seed=seed)
            fit = model.lineage.fit if model.lineage else FitRecord()
            left = budget_after(left, fit)
            score = _dev_score(model, task, seed=seed)
            parts.append(StepRecord(step, fit, score, model.adaptation.filled))
        record, settings = FitRecord.of_recipe(parts), settings_of(self)
        return model.adapt(lineage=Lineage(self.name, settings, seed, record, model.lineage))


def step_budget(left: Budget, place: int, count: int) -> Budget:
    """What step `place` (from 0) of `count` may spend: an equal share of what is left."""
    steps = count - place
    return Budget(
        tokens=None if left.tokens is None else left.tokens // steps,
        minutes=None if left.minutes is None else left.minutes / steps,
    )


def budget_after(left: Budget, record: FitRecord) -> Budget:
    """What is left of a budget after a fit; never less than nothing."""
    tokens, minutes = left.tokens, left.minutes
    return Budget(
        tokens=None if tokens is None else max(0, tokens - (record.spent_tokens or 0)),
        minutes=None if minutes is None else max(0.0, minutes - (record.fit_seconds or 0.0) / 60),
    )


def _normalised(step: str) -> str:
    from luthier.techniques.spelling import parse_technique, spell

    return spell(parse_technique(step))


def _dev_score(model: Model, task: Task, *, seed: int) -> float | None:
    """The task's own metric on dev, None where there is no dev example."""
    from luthier.context import WorkContext, working
    from luthier.scoring.evaluation import evaluate

    if not task.dev:
        return None
    with working(WorkContext()):
        return evaluate(model, task, split="dev", limit=MOST_SCORED, seed=seed).score.value
