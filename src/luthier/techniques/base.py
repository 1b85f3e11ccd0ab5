"""The contract of a technique, and the card that says when it pays.

A technique is a frozen dataclass whose fields are its settings; it holds no data. `fit` returns the
same base with a better adaptation and changes nothing. `luthier.testing.check_technique` holds
every implementation, ours or a plugin's, to this contract.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

from luthier.errors import CapabilityError
from luthier.models.model import Model
from luthier.records import Budget, Capability, FitRecord
from luthier.task.task import Task

ENOUGH_PASSES = 3  # over the training examples; a fit of fewer says little about its technique


@dataclass(frozen=True, slots=True)
class Card:
    """What `luthier techniques` prints: what the technique changes, what it needs, when it pays,
    what it costs, and where it comes from."""

    changes: str
    needs: str
    pays_when: str
    costs: str
    source: str


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a technique takes beyond the bare task, for the plan of a comparison.

    **Fields**

    - `tunes`: a fit spends tokens; False gives its share of the budget to the others.
    - `demonstrations`: solved examples that a request may show, at most.
    - `passages`: passages of documents that a request shows, as a rule.
    - `gradients`: a fit keeps activations for a backward pass.
    - `copies_weights`: a fit holds a second copy of the base, its gradients and two moments.
    - `fit_speed`: the share of the base's forward speed, measured on full batches, that a fit
      reaches with its small batches, its evaluations and its own work (measured on nano).
    """

    tunes: bool = True
    demonstrations: int = 0
    passages: int = 0
    gradients: bool = False
    copies_weights: bool = False
    fit_speed: float = 0.6


class Technique:
    """Settings in the constructor, data in `fit`.

    A subclass is a frozen dataclass that sets the class attributes and implements `fit`; the other
    methods have defaults.

    **Class attributes**

    - `name`: how a user writes it, in lower case with hyphens.
    - `family`: "prompt", "soft prompt", "adapter", "weights", "head", "retrieval" or "recipe".
    - `needs`: the capabilities that the backend must have.
    - `draws`: whether a model that draws will do where text is needed.
    - `trained`: whether a fit trains parameters.
    - `card`: what `luthier techniques` prints.
    - `footprint`: what the plan counts.
    """

    name: ClassVar[str]
    family: ClassVar[str]
    needs: ClassVar[frozenset[Capability]]
    draws: ClassVar[bool] = False
    trained: ClassVar[bool]
    card: ClassVar[Card]
    footprint: ClassVar[Footprint] = Footprint()

    def fit(self, model: Model, task: Task, *, budget: Budget, seed: int = 0) -> Model:
        """The same base with a better adaptation.

        **Arguments**

        - `model`: where the fit starts; its adaptation is kept where the technique leaves it alone.
        - `task`: the data. It has no test split.
        - `budget`: what the fit may spend, at most.
        - `seed`: of all that is random. The same seed gives the same model.

        CapabilityError, before anything is spent, where the backend lacks what is needed.
        """
        raise NotImplementedError

    @property
    def seeded(self) -> bool:
        """Whether a fit depends on its seed with these settings; such techniques get several seeds.

        By default what is trained does.
        """
        return self.trained

    def unmet_by_task(self, task: Task) -> str | None:
        """In words, what the task lacks for this technique; None when it has all."""
        return None

    def unmet_by_model(self, model: Model) -> str | None:
        """In words, why this kind of base does not suit the technique; None when it does."""
        return None

    def passes(self, model: Model, task: Task, tokens: int) -> float | None:
        """How many passes over the training examples a fit with so many tokens will make, roughly;
        None where it trains nothing, or where that cannot be said beforehand."""
        return None

    def enough_passes(self, task: Task) -> float:
        """Passes over the training examples that a comparison buys where no budget is given: what
        makes a fit a trial of the technique."""
        return ENOUGH_PASSES

    def settled(self, record: FitRecord) -> Technique | None:
        """The same technique with what a fit chose on dev among its settings, so that it can be
        fitted again on train and dev together; None where a fit cannot do without dev.

        By default a learning rate is what is chosen.
        """
        if record.training is None or "learning_rates" not in settings_of(self):
            return None
        rates = (record.training.learning_rate,)
        return dataclasses.replace(self, learning_rates=rates)  # type: ignore[type-var]

    def content(self) -> str | None:
        """A digest of what a setting names on disk (an index): another content is another run."""
        return None

    def before(self, model: Model, task: Task) -> tuple[Model, Task]:
        """What a technique that trains is fitted on before this one in a recipe: by default the
        same.

        A technique that gives the model tools has those before it learn to call them.
        """
        return model, task

    def chain(self) -> tuple[Technique, ...]:
        """The techniques that are fitted one after the other: this one alone, but for a recipe."""
        return (self,)


def settings_of(technique: Technique) -> dict[str, Any]:
    """The settings as a plain dict that rebuilds the technique: `type(t)(**settings_of(t))`."""
    return {
        f.name: getattr(technique, f.name)
        for f in dataclasses.fields(technique)  # type: ignore[arg-type]
    }


def check_needs(technique: Technique, model: Model) -> None:
    """CapabilityError, before any weight moves, when the model cannot carry the technique."""
    reason = unmet_by_model(technique, model)
    if reason:
        raise CapabilityError(
            reason, next_step="Use a local model, or choose a technique that needs less."
        )


def unmet_by_task(technique: Technique, task: Task) -> str | None:
    """In words, with the technique's name, what the task lacks; None when it has all."""
    reason = technique.unmet_by_task(task)
    return None if reason is None else f"{technique.name}: {reason}"


def unmet_by_model(technique: Technique, model: Model) -> str | None:
    """In words, what the technique needs and the model does not give; None when it has all."""
    given = model.capabilities
    if technique.draws and Capability.DRAWING in given:
        given |= {Capability.TEXT}
    missing = sorted(technique.needs - given)
    if missing:
        return (
            f"{technique.name} needs {' and '.join(missing)}, which {model.backend.name} does not "
            "give"
        )
    if model.adaptation.head is not None and technique.family != "head":
        return (
            f"{technique.name} would change the states that this model's head was fitted on: "
            "let the head come last"
        )
    return technique.unmet_by_model(model)
