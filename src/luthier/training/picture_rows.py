"""From captions with pictures to rows: each picture is encoded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from luthier.errors import TaskError
from luthier.images.adapted_pipeline import PictureSession
from luthier.images.picture_files import open_picture, resized
from luthier.images.pipeline_call import size_of
from luthier.models.drawing_prompt import render_drawings
from luthier.models.model import Model
from luthier.records import Example
from luthier.training.rows import TrainRow

TOGETHER = 16  # pictures that are encoded in one pass


@dataclass(frozen=True, slots=True, eq=False)
class PictureRow(TrainRow):
    """A caption and the latent (C, H, W) of its picture, scaled as the denoiser knows it. It counts
    as one token: one pass of the denoiser over one latent."""

    text: str = ""
    latent: torch.Tensor | None = None


def shown_pictures(examples: Sequence[Example]) -> list[Example]:
    """The examples that come with a picture to learn from."""
    return [example for example in examples if example.picture]


def picture_rows(
    model: Model, session: PictureSession, examples: Sequence[Example]
) -> list[TrainRow]:
    """A row for each example with a picture, under the model's prompt.

    TaskError where no example has one.
    """
    shown = shown_pictures(examples)
    if not shown:
        raise TaskError(
            "No training example comes with a picture to learn from",
            next_step="Name the column of picture files in the task file: picture: file.",
        )
    texts = [rendered.text for rendered in render_drawings(model, shown)]
    latents = encoded([str(example.picture) for example in shown], session)
    return [
        PictureRow([0], 0, text=text, latent=latent)
        for text, latent in zip(texts, latents, strict=True)
    ]


def encoded(paths: Sequence[str], session: PictureSession) -> list[torch.Tensor]:
    """The mean latents of picture files, cut and resized to the size that the pipeline draws."""
    vae, size = session.pipeline.vae, size_of(session.pipeline)
    side = (size or (vae.config.sample_size,))[0]
    pictures = [resized(open_picture(path), side) for path in paths]
    found: list[torch.Tensor] = []
    for start in range(0, len(pictures), TOGETHER):
        some = torch.stack([_as_tensor(p) for p in pictures[start : start + TOGETHER]])
        with torch.no_grad():
            latent = vae.encode(some.to(device=vae.device, dtype=vae.dtype)).latent_dist.mean
        found += list((latent * vae.config.scaling_factor).float().cpu())
    return found


def _as_tensor(picture: Any) -> torch.Tensor:
    """Bytes (H, W, 3) as numbers from −1 to 1, (3, H, W)."""
    return torch.tensor(picture).permute(2, 0, 1).float() / 127.5 - 1
