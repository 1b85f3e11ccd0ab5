"""Drawing through a pipeline's own call: for every class whose loop is not computed here.

Which arguments a pipeline takes is read off its call, so that Stable Diffusion XL, PixArt, Flux and
what comes after them are asked in the same way.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from luthier.errors import CapabilityError
from luthier.images.batches import draw_in_batches
from luthier.images.drawing import Defaults, Drawing, Pixels

MOST_PICTURES = 8
USUAL_STEPS, USUAL_GUIDANCE = 50, 7.5  # of a pipeline that names none


def call_arguments(pipeline: Any) -> dict[str, Any]:
    """The names that a pipeline's call takes, with their defaults."""
    parameters = inspect.signature(type(pipeline).__call__).parameters
    return {name: p.default for name, p in parameters.items()}


def is_distilled(pipeline: Any) -> bool:
    """Whether the guidance is part of the weights (guidance distillation, Meng et al. 2023,
    arXiv:2210.03142), so that there is no unconditional branch."""
    parts = pipeline.components
    for name, setting in (("unet", "time_cond_proj_dim"), ("transformer", "guidance_embeds")):
        denoiser = parts.get(name)
        if denoiser is not None and denoiser.config.get(setting):
            return True
    return "negative_prompt" not in call_arguments(pipeline)


def guidance_argument(pipeline: Any) -> str:
    """What a pipeline calls γ. Flux and its kin take `guidance_scale` for the one inside their
    weights, and γ as `true_cfg_scale`."""
    true = "true_cfg_scale" in call_arguments(pipeline) and not is_distilled(pipeline)
    return "true_cfg_scale" if true else "guidance_scale"


def defaults_of(pipeline: Any) -> Defaults:
    """How a pipeline draws where nothing is said, by the defaults of its call."""
    known = call_arguments(pipeline)
    guidance = known.get(guidance_argument(pipeline))
    return Defaults(
        int(known.get("num_inference_steps") or USUAL_STEPS),
        float(USUAL_GUIDANCE if guidance is None else guidance),
        size_of(pipeline),
    )


def size_of(pipeline: Any) -> tuple[int, int] | None:
    """Height and width of a picture in pixels; None where the pipeline does not tell."""
    parts = pipeline.components
    denoiser = parts.get("unet") or parts.get("transformer")
    scale = parts and getattr(pipeline, "vae_scale_factor", None)
    size = None if denoiser is None else denoiser.config.get("sample_size")
    size = size or getattr(pipeline, "default_sample_size", None)
    if not scale or not size:
        return None
    height, width = (size, size) if isinstance(size, int) else size
    return int(height * scale), int(width * scale)


class PipelineCall:
    """Draws by calling a pipeline with lists of prompts, each picture from the noise of its own
    seed."""

    def __init__(self, pipeline: Any, *, batch: int | None = None) -> None:
        self.pipeline = pipeline
        self.batch = batch or MOST_PICTURES
        self.passes = 0

    def forget(self) -> None:
        """Nothing is kept."""

    def draw(
        self, drawings: Sequence[Drawing], *, done: Callable[[int], None] | None = None
    ) -> list[Pixels]:
        """The pictures, in order. CapabilityError for what only a loop of our own can do."""
        for drawing in drawings:
            if (drawing.negative_from, drawing.negative_until) != (0.0, 1.0):
                raise CapabilityError(
                    f"{type(self.pipeline).__name__} runs its own loop, in which a negative prompt "
                    "acts all the time",
                    next_step="Leave negative_from and negative_until out, or use a Stable "
                    "Diffusion pipeline.",
                )
            if (drawing.guidance_scale or 0.0) < 1.0 and not is_distilled(self.pipeline):
                raise CapabilityError(
                    f"guidance_scale is {drawing.guidance_scale:g}, and "
                    f"{type(self.pipeline).__name__} has none below 1",
                    next_step="Give 1 (no guidance) or more.",
                )
        return draw_in_batches(
            drawings,
            self._draw_batch,
            key=lambda d: (d.steps, d.guidance_scale, bool(d.negative)),
            most=self.batch,
            done=done,
        )

    def _draw_batch(self, drawings: Sequence[Drawing]) -> list[Pixels]:
        import numpy as np
        import torch

        one, known = drawings[0], call_arguments(self.pipeline)
        arguments: dict[str, Any] = {
            "prompt": [d.prompt for d in drawings],
            "num_inference_steps": one.steps,
            guidance_argument(self.pipeline): one.guidance_scale,
            "generator": [torch.Generator("cpu").manual_seed(d.seed) for d in drawings],
            "output_type": "np",
        }
        if one.negative:
            arguments["negative_prompt"] = [d.negative for d in drawings]
        elif "true_cfg_scale" in known and not is_distilled(self.pipeline):
            arguments["negative_prompt"] = [""] * len(drawings)  # its γ acts where there is one
        if "use_resolution_binning" in known:
            arguments["use_resolution_binning"] = False  # the size is the model's own
        with torch.inference_mode():
            shown = self.pipeline(**arguments).images
        branches = 1 if one.guidance_scale == 1.0 or is_distilled(self.pipeline) else 2
        self.passes += (one.steps or 0) * branches * len(drawings)
        return list((np.asarray(shown) * 255).round().astype(np.uint8))
