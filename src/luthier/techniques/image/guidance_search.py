"""Guidance: how far a picture is led from what it would be without its prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from luthier.errors import TechniqueError
from luthier.models.model import Model
from luthier.task.task import Task
from luthier.techniques.base import Card
from luthier.techniques.image.slot_search import Change, SlotSearch


@dataclass(frozen=True)
class GuidanceSearch(SlotSearch):
    """The guidance scale γ, of a list: ε̂ = ε(x, c̄) + γ (ε(x, c) − ε(x, c̄)).

    The model's own competes; another one has to be better by more than a standard error.

    **Settings**

    - `scales`: those that are tried. 1 is no guidance, and half the work.
    """

    scales: tuple[float, ...] = (1.0, 2.0, 3.0, 5.0, 7.5, 10.0)

    name: ClassVar[str] = "guidance-search"
    card: ClassVar[Card] = Card(
        changes="the decoding: the guidance scale",
        needs="a model that draws; dev examples that can be scored",
        pays_when="pictures stray from their request (more), or look burnt (less)",
        costs="pictures on dev; nothing at each request",
        source="arXiv:2207.12598 (classifier-free guidance); halving arXiv:1502.07943",
    )

    def __post_init__(self) -> None:
        given = self.scales
        numbers = isinstance(given, Sequence) and all(
            isinstance(s, int | float) and not isinstance(s, bool) and 0 <= s < float("inf")
            for s in given
        )
        if not numbers or not given:
            raise TechniqueError(
                f"guidance-search: scales={given!r} must be numbers of 0 or more",
                next_step="Write scales=[2, 4, 8].",
            )
        object.__setattr__(self, "scales", tuple(float(s) for s in given))

    def changes(self, model: Model, task: Task, number: int) -> Sequence[Change]:
        """Every scale but the one that the model has."""
        decoding = model.adaptation.decoding
        return [
            Change(f"guidance {s:g}", model.adapt(decoding=replace(decoding, guidance_scale=s)), 1)
            for s in self.scales
            if s != decoding.guidance_scale
        ]

    def chosen(self, model: Model) -> dict[str, Any]:
        """The guidance scale; None: the model's own."""
        return {"guidance_scale": model.adaptation.decoding.guidance_scale}
