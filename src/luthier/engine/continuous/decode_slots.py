"""The rows of answers that are being generated; one may join and another leave at every step."""

from __future__ import annotations

import torch

from luthier.engine.generation.decoder_batch import CACHE_BYTES, DecoderBatch, PreallocatedLayer
from luthier.engine.memory import ModelShape, memory_cap
from luthier.engine.prefix_tree.shared_cache import KeyValues
from luthier.engine.session import Session

ROUNDED = 128  # rows grow by so many tokens


class DecodeSlots(DecoderBatch):
    """A `DecoderBatch` whose prompts were computed elsewhere, and whose rows grow where longer ones
    join. `most` is how many rows there may be."""

    def __init__(self, session: Session, *, most: int) -> None:
        self.session = session
        self.computed = 0
        self.most = most
        self._limit = min(CACHE_BYTES, memory_cap(session.device))
        self._token_bytes = ModelShape.of(session).key_value_bytes()
        self._past = self._capacity = 0
        self._layers: list[PreallocatedLayer] = []
        self._lengths: list[int] = []
        self._prompts: list[tuple[int, ...]] = []
        self._firsts: list[torch.Tensor] = []

    def fits(self, tokens: int) -> bool:
        """Whether a row that may become so long can join now."""
        rows, longest = len(self._lengths) + 1, max(tokens, self._capacity)
        enough = rows * longest * self._token_bytes <= self._limit
        return not self._lengths or (rows <= self.most and enough)

    def join(self, values: KeyValues, length: int, *, longest: int) -> None:
        """Take in a row: its keys and values (1, heads, length, width) of each layer, and how long
        it may become."""
        row = len(self._lengths)
        self._grow(values, rows=row + 1, capacity=max(longest, length + 1))
        for layer, (keys, both) in zip(self._layers, values.values(), strict=True):
            layer.keys[row, :, :length] = keys[0]
            layer.values[row, :, :length] = both[0]
        self._lengths.append(length)
        self._prompts.append(())
        self._firsts.append(torch.empty(0))

    def _grow(self, like: KeyValues, *, rows: int, capacity: int) -> None:
        """Make the layers so large that a row more and longer ones fit."""
        have = len(self._layers[0].keys) if self._layers else 0
        if self._layers and rows <= have and capacity <= self._capacity:
            return
        self._capacity = max(self._capacity, -(-capacity // ROUNDED) * ROUNDED)
        count = max(have, min(self.most, max(rows, 2 * have)))
        grown = []
        for k, (keys, values) in enumerate(like.values()):
            layer = PreallocatedLayer()
            layer.is_initialized = True
            for name, source in (("keys", keys), ("values", values)):
                _, heads, _, width = source.shape
                new = source.new_zeros(count, heads, self._capacity, width)
                if self._layers:
                    old = getattr(self._layers[k], name)
                    new[:have, :, : old.shape[2]] = old
                setattr(layer, name, new)
            grown.append(layer)
        self._layers = grown
