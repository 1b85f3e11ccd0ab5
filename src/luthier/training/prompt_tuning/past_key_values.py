"""Keys and values that were computed before, of rows of different lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch

Layers = list[tuple[torch.Tensor, torch.Tensor]]


class PastKeyValues(Protocol):
    """Row n has `lengths[n]` tokens at positions 0 … lengths[n] − 1."""

    @property
    def lengths(self) -> torch.Tensor:
        """(N,)"""
        ...

    @property
    def layers(self) -> Layers:
        """For each layer keys and values (N, key heads, S, width), S the longest row; what follows
        a shorter one is padding."""
        ...


@dataclass(frozen=True)
class PaddedPast:
    """Keys and values as a model returns them; gradients may flow back through them."""

    layers: Layers
    lengths: torch.Tensor


@dataclass(frozen=True)
class CachedPast:
    """Keys and values as they are cached, without gradients.

    `start` (1, key heads, s, width) is what all rows begin with, `rows` the rest of each, (key
    heads, s, width); `dtype` is what the model computes in.
    """

    start: Layers
    rows: Sequence[Layers]
    lengths: torch.Tensor
    dtype: torch.dtype

    @cached_property
    def layers(self) -> Layers:
        """The rows in one tensor, padded."""
        many, longest = len(self.rows), int(self.lengths.max())
        out: Layers = []
        for i, pair in enumerate(self.rows[0]):
            made = []
            for side, like in enumerate(pair):
                shape = (many, like.shape[0], longest, like.shape[2])
                joint = torch.empty(shape, dtype=self.dtype, device=like.device)
                first = 0
                if self.start:
                    part = self.start[i][side]
                    first = part.shape[2]
                    joint[:, :, :first] = part
                for row, kept in zip(joint, self.rows, strict=True):
                    last = first + kept[i][side].shape[1]
                    row[:, first:last] = kept[i][side]
                    row[:, last:] = 0
                made.append(joint)
            out.append((made[0], made[1]))
        return out

    def parts(self, layer: int, row: int) -> Layers:
        """The keys and values of one layer and row, without padding: the shared beginning, where
        there is one, and the rest, (key heads, s, width) each."""
        start = [(keys[0], values[0]) for keys, values in self.start[layer : layer + 1]]
        return [*start, self.rows[row][layer]]
