"""What is to be drawn: a record, whose noise depends on its seed alone.

Drawings that differ in prompt, negative prompt or guidance share their noise where they share their
seed, so that what differs between two pictures is what was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from luthier.errors import UserError

Pixels = npt.NDArray[np.uint8]  # (height, width, 3)


@dataclass(frozen=True, slots=True)
class Drawing:
    """One picture that is asked for.

    `steps` and `guidance_scale` None: those of the pipeline. The negative prompt acts from
    `negative_from` to `negative_until`, shares of the schedule (0: pure noise, 1: the picture);
    elsewhere the empty prompt stands in its place. A negative prompt acts late, and one that acts
    too early can bring about what it names (Ban et al. 2024, arXiv:2406.02965).
    """

    prompt: str
    negative: str = ""
    seed: int = 0
    steps: int | None = None
    guidance_scale: float | None = None
    negative_from: float = 0.0
    negative_until: float = 1.0

    def __post_init__(self) -> None:
        if self.steps is not None and not 1 <= self.steps <= 1000:
            raise UserError(f"steps is {self.steps}", next_step="steps must be from 1 to 1,000.")
        if self.guidance_scale is not None and not 0 <= self.guidance_scale < float("inf"):
            raise UserError(
                f"guidance_scale is {self.guidance_scale}",
                next_step="guidance_scale must be 0 or a number above it; 1 is no guidance.",
            )
        if not 0 <= self.negative_from <= self.negative_until <= 1:
            raise UserError(
                f"the negative prompt acts from {self.negative_from:g} to {self.negative_until:g} "
                "of the schedule",
                next_step="Give shares from 0 (noise) to 1 (the picture), the first one first.",
            )

    def acts_at(self, step: int, steps: int) -> bool:
        """Whether the negative prompt acts at a step, the first of which is 0."""
        at = step / steps
        return bool(self.negative) and self.negative_from <= at < self.negative_until


@dataclass(frozen=True, slots=True)
class Defaults:
    """How a pipeline draws where nothing else is said. `size` is (height, width) in pixels."""

    steps: int
    guidance_scale: float
    size: tuple[int, int] | None = None
