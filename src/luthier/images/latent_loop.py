"""The loop of Stable Diffusion over many drawings at once, each picture as the plain loop makes it.

ε̂ = ε(x, c̄) + γ (ε(x, c) − ε(x, c̄)), where c̄ is the negative prompt while it acts, and the empty
prompt elsewhere (Ho and Salimans 2022, arXiv:2207.12598).
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from luthier.images.batches import draw_in_batches
from luthier.images.drawing import Drawing, Pixels

if TYPE_CHECKING:
    import torch

MOST_TEXTS = 4096  # encoded texts that are kept
LATENT_NUMBERS = 32_768  # of the latents of one batch: 8 pictures of 512 × 512 need half of it
MOST_PICTURES = 32


class LatentLoop:
    """Draws with the parts of a `StableDiffusionPipeline`: texts are encoded once, and the first
    step is computed once for all drawings that share seed and text."""

    def __init__(self, pipeline: Any, *, batch: int | None = None) -> None:
        self.pipeline = pipeline
        self.batch = batch
        self.passes = 0
        self._texts: OrderedDict[str, torch.Tensor] = OrderedDict()

    def forget(self) -> None:
        """Forget the encoded texts."""
        self._texts.clear()

    def draw(
        self, drawings: Sequence[Drawing], *, done: Callable[[int], None] | None = None
    ) -> list[Pixels]:
        """The pictures, in order; see `Painter.draw`. Drawings of one batch have equal steps."""
        import torch

        with torch.inference_mode():
            self._encode([text for d in drawings for text in (d.prompt, d.negative, "")])
            return draw_in_batches(
                drawings, self._draw_batch, key=lambda d: d.steps, most=self._most(), done=done
            )

    def _most(self) -> int:
        if self.batch is not None:
            return self.batch
        channels, height, width = self._latent_shape()
        return max(1, min(MOST_PICTURES, LATENT_NUMBERS // (channels * height * width)))

    def _latent_shape(self) -> tuple[int, int, int]:
        config = self.pipeline.unet.config
        size = config.sample_size
        height, width = (size, size) if isinstance(size, int) else size
        return config.in_channels, height, width

    def _encode(self, texts: Sequence[str]) -> None:
        missing = [text for text in dict.fromkeys(texts) if text not in self._texts]
        for start in range(0, len(missing), MOST_PICTURES):
            some = missing[start : start + MOST_PICTURES]
            states, _ = self.pipeline.encode_prompt(
                some, self.pipeline._execution_device, 1, do_classifier_free_guidance=False
            )
            self._texts.update(zip(some, states, strict=True))
        for text in texts:
            self._texts.move_to_end(text)
        while len(self._texts) > max(MOST_TEXTS, len(set(texts))):
            self._texts.popitem(last=False)

    def _draw_batch(self, drawings: Sequence[Drawing]) -> list[Pixels]:
        import torch

        pipeline, steps = self.pipeline, drawings[0].steps
        device, dtype = pipeline._execution_device, pipeline.unet.dtype
        scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config)
        scheduler.set_timesteps(steps, device=device)
        generators = [torch.Generator("cpu").manual_seed(d.seed) for d in drawings]
        latents = self._noise(generators, dtype) * scheduler.init_noise_sigma
        extra = _step_arguments(scheduler, generators)
        scales = torch.tensor([d.guidance_scale for d in drawings], device=device, dtype=dtype)
        scales = scales.view(-1, 1, 1, 1)
        count = len(scheduler.timesteps)
        for step, time in enumerate(scheduler.timesteps):
            inputs = scheduler.scale_model_input(latents, time)
            noise = self._noise_of(drawings, inputs, time, scales, at=(step, count))
            latents = scheduler.step(noise, time, latents, **extra, return_dict=False)[0]
        return self._decoded(latents)

    def _noise(self, generators: Sequence[torch.Generator], dtype: torch.dtype) -> torch.Tensor:
        """One noise for each seed, as `diffusers` draws it for a picture drawn alone."""
        import torch

        shape, device = self._latent_shape(), self.pipeline._execution_device
        drawn = [torch.randn((1, *shape), generator=g, dtype=dtype) for g in generators]
        return torch.cat(drawn).to(device)

    def _noise_of(
        self, drawings: Sequence[Drawing], inputs: torch.Tensor, time: torch.Tensor,
        scales: torch.Tensor, *, at: tuple[int, int],
    ) -> torch.Tensor:  # fmt: skip
        """The guided noise of each latent, (B, C, H, W). No row is computed twice."""
        import torch

        rows: dict[tuple[int, str], int] = {}  # (whose latent, text) to the row that computes it
        first: dict[int, int] = {}  # before the first step the latents of one seed are equal

        def row(i: int, text: str) -> int:
            latent = first.setdefault(drawings[i].seed, i) if at[0] == 0 else i
            return rows.setdefault((latent, text), len(rows))

        guided = [d.guidance_scale != 1.0 for d in drawings]
        positive = [row(i, d.prompt) for i, d in enumerate(drawings)]
        negative = [
            row(i, d.negative if d.acts_at(*at) else "") if guided[i] else positive[i]
            for i, d in enumerate(drawings)
        ]
        latents = inputs[[latent for latent, _ in rows]]
        states = torch.stack([self._texts[text] for _, text in rows])
        found = self.pipeline.unet(
            latents, time, encoder_hidden_states=states.to(latents.dtype), return_dict=False
        )[0]
        self.passes += len(rows)
        away = found[negative]
        guided_noise: torch.Tensor = away + scales * (found[positive] - away)
        return guided_noise

    def _decoded(self, latents: torch.Tensor) -> list[Pixels]:
        import numpy as np

        pipeline = self.pipeline
        scaled = latents / pipeline.vae.config.scaling_factor
        pictures = pipeline.vae.decode(scaled.to(pipeline.vae.dtype), return_dict=False)[0]
        pictures, unsafe = pipeline.run_safety_checker(pictures, latents.device, latents.dtype)
        denormalize = [True] * len(latents) if unsafe is None else [not found for found in unsafe]
        shown = pipeline.image_processor.postprocess(
            pictures, output_type="np", do_denormalize=denormalize
        )
        return list((shown * 255).round().astype(np.uint8))


def _step_arguments(scheduler: Any, generators: Sequence[torch.Generator]) -> dict[str, Any]:
    """What a scheduler's step takes beside the usual: a generator for each picture, where it draws
    noise, and η = 0."""
    taken = inspect.signature(scheduler.step).parameters
    extra: dict[str, Any] = {"generator": list(generators)} if "generator" in taken else {}
    return extra | ({"eta": 0.0} if "eta" in taken else {})
