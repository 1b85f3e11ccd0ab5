"""A second loss that tells the denoiser's features what stands where.

The velocity says little about a word: the same gap of a few numbers separates a star from a
diamond. A linear map of the features that enter the last block says for each place of the grid
whether a shape's centre is there and of which shape, colour, size and texture it is; the recipe
knows the truth, since it drew the scene. (Yu et al. 2024, arXiv:2410.06940, align features with
those of a vision model and learn many times faster.) The map is thrown away.
"""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pretraining.scenes.pool import FEATURES, NONE

PARTS = [1, *map(len, FEATURES.values())]  # logits of a place: of a shape being there, of features
_kept = threading.local()


def _keep(module: nn.Module, args: Any, out: Tensor) -> None:
    _kept.features = out


class LayoutReader(nn.Module):
    """Logits (B, sum of PARTS, 8, 8) from the features that a denoiser last computed."""

    def __init__(self, denoiser: Any) -> None:
        super().__init__()
        before_last = denoiser.up_blocks[-2]
        before_last.register_forward_hook(_keep)
        width = before_last.resnets[-1].out_channels
        self.map = nn.Conv2d(width, sum(PARTS), 1)

    def forward(self) -> Tensor:
        """Read the features of this thread's last call of the denoiser."""
        logits: Tensor = self.map(_kept.features)
        del _kept.features
        return logits


def layout_loss(logits: Tensor, layouts: Tensor) -> Tensor:
    """The cross-entropies of all places and shapes of a picture, summed, and their mean over
    pictures, for logits (B, sum of PARTS, 8, 8) and layouts (B, shapes, 2 + features)."""
    picture, number = (layouts[:, :, 0] != NONE).nonzero(as_tuple=True)
    shapes = layouts[picture, number].long()
    column, row = shapes[:, 0], shapes[:, 1]
    there = torch.zeros(logits.shape[0], *logits.shape[2:])
    there[picture, row, column] = 1.0
    logits = logits.float()
    loss = F.binary_cross_entropy_with_logits(logits[:, 0], there, reduction="sum")
    for part, said in zip(logits[picture, :, row, column].split(PARTS, -1)[1:], shapes.T[2:],
                          strict=True):  # fmt: skip
        loss = loss + F.cross_entropy(part, said, ignore_index=NONE, reduction="sum")
    return loss / len(layouts)
