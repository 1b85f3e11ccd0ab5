"""Draw with a diffusers pipeline, whatever its class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from luthier.images.drawing import Defaults, Drawing, Pixels
from luthier.images.latent_loop import LatentLoop
from luthier.images.pipeline_call import PipelineCall, defaults_of, is_distilled

OWN_LOOP = ("StableDiffusionPipeline",)  # classes whose loop is computed here
INERT = (
    "The guidance of this model is part of its weights: it has no unconditional branch, so that a "
    "negative prompt changes nothing."
)


class Painter:
    """Draws with one pipeline, whatever its class, many pictures at a time.

    **Attributes**

    - `defaults`: the steps and the guidance scale of drawings that name none.
    - `negatives`: whether negative prompts act.
    - `passes`: how often the denoiser went over a latent so far: the work that was done.
    """

    def __init__(
        self, pipeline: Any, *, defaults: Defaults | None = None, batch: int | None = None
    ) -> None:
        """`batch` is the most pictures that are drawn together; None: as their size allows."""
        self.pipeline = pipeline
        self.defaults = defaults or defaults_of(pipeline)
        self.distilled = is_distilled(pipeline)
        own = type(pipeline).__name__ in OWN_LOOP and not self.distilled
        self._way: LatentLoop | PipelineCall = (
            LatentLoop(pipeline, batch=batch) if own else PipelineCall(pipeline, batch=batch)
        )

    @property
    def negatives(self) -> bool:
        """Whether negative prompts act."""
        return not self.distilled

    @property
    def passes(self) -> int:
        """How often the denoiser went over a latent so far."""
        return self._way.passes

    def draw(
        self, drawings: Sequence[Drawing], *, done: Callable[[int], None] | None = None
    ) -> list[Pixels]:
        """The pictures, in order. Equal drawings are drawn once.

        The texts are encoded once and kept. `done` is told after each batch how many more pictures
        there are. UserError where a single picture does not fit in memory.
        """
        filled = [self.filled(drawing) for drawing in drawings]
        unique = list(dict.fromkeys(filled))
        pictures = dict(zip(unique, self._way.draw(unique, done=done), strict=True))
        return [pictures[drawing] for drawing in filled]

    def filled(self, drawing: Drawing) -> Drawing:
        """The drawing with the pipeline's steps and guidance where it names none, and without a
        negative prompt where none acts."""
        guidance = drawing.guidance_scale
        guidance = self.defaults.guidance_scale if guidance is None else guidance
        acts = bool(drawing.negative) and self.negatives and guidance != 1.0
        acts = acts and drawing.negative_from < drawing.negative_until
        return Drawing(
            drawing.prompt,
            drawing.negative if acts else "",
            drawing.seed,
            drawing.steps or self.defaults.steps,
            guidance,
            drawing.negative_from if acts else 0.0,
            drawing.negative_until if acts else 1.0,
        )

    def passes_of(self, drawing: Drawing) -> int:
        """How often the denoiser goes over the latent of a drawing, were it drawn alone."""
        filled = self.filled(drawing)
        branches = 1 if filled.guidance_scale == 1.0 or self.distilled else 2
        return (filled.steps or 1) * branches

    def forget(self) -> None:
        """Forget the texts that were encoded: the text encoder has changed."""
        self._way.forget()
