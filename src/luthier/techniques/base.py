"""The contract of a technique, and the card that tells a reader when it pays.

A technique is a frozen dataclass: its fields are its settings, it holds no data. `fit` returns the
same base with a better adaptation and changes nothing. `tests/contracts.py::check_technique` holds
every implementation, ours or a plugin's, to it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

from luthier.errors import CapabilityError
from luthier.models.model import Model
from luthier.records import Budget, Capability
from luthier.task.task import Task


@dataclass(frozen=True, slots=True)
class Card:
    """What `luthier techniques` prints."""

    changes: str
    needs: str
    pays_when: str
    costs: str
    source: str


@runtime_checkable
class Technique(Protocol):
    """Settings in the constructor, data in `fit`."""

    name: ClassVar[str]
    family: ClassVar[str]  # "prompt", "soft prompt", "adapter", "weights", "retrieval", "recipe"
    needs: ClassVar[frozenset[Capability]]
    trained: ClassVar[bool]  # trained ones get several seeds
    card: ClassVar[Card]

    def fit(self, model: Model, task: Task, *, budget: Budget, seed: int = 0) -> Model:
        """The same base with a better adaptation. `task` has no test split."""
        ...


def settings_of(technique: Technique) -> dict[str, Any]:
    """The settings as a plain dict that rebuilds the technique: `type(t)(**settings_of(t))`."""
    return {
        f.name: getattr(technique, f.name)
        for f in dataclasses.fields(technique)  # type: ignore[arg-type]
    }


def check_needs(technique: Technique, model: Model) -> None:
    """CapabilityError, before any weight moves, when the model cannot carry the technique."""
    reason = unmet_need(technique, model)
    if reason:
        raise CapabilityError(
            reason, next_step="Use a local model, or choose a technique that needs less."
        )


def unmet_by_task(technique: Technique, task: Task) -> str | None:
    """In words, what the technique needs and the task lacks; None when it has all.

    A technique says so in an optional method `lacks(task)`.
    """
    lacks = getattr(technique, "lacks", None)
    reason: str | None = lacks(task) if callable(lacks) else None
    return None if reason is None else f"{technique.name}: {reason}"


def unmet_need(technique: Technique, model: Model) -> str | None:
    """In words, what the technique needs and the model does not give; None when it has all.

    A technique that is not for every kind of base says so in an optional method `refuses(model)`.
    """
    missing = sorted(technique.needs - model.gives)
    if missing:
        return (
            f"{technique.name} needs {' and '.join(missing)}, which {model.backend.name} does not "
            "give"
        )
    refuses = getattr(technique, "refuses", None)
    reason: str | None = refuses(model) if callable(refuses) else None
    return reason
