"""Keys and values of a shared prefix: kept once, read by every row of a batch."""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache

Layer = tuple[torch.Tensor, torch.Tensor]  # keys and values, (1, heads, P, head width)
Layers = dict[int, Layer]


class SharedCache(DynamicCache):  # type: ignore[misc]
    """Layers of batch 1 that are widened to the batch while a layer runs, and only then.

    transformers' own cache would hold a copy for every row of the batch in every layer. With
    `record` the new keys and values are kept behind the old, in `grown`; otherwise nothing
    is changed and one object serves any number of batches. While `apart` the layers get their new
    keys and values alone, and `layer` says which runs: see `luthier.engine.prefix_tree.shared_attention`.
    """

    def __init__(self, kept: Layers, *, record: bool = False) -> None:
        super().__init__()
        self.kept = kept
        self.record = record
        self.grown: Layers = {}
        self.apart = False
        self.layer = 0

    @property
    def length(self) -> int:
        """Tokens kept, those of a prefix adapter among them."""
        return int(next(iter(self.kept.values()))[0].shape[2]) if self.kept else 0

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """What the model asks to know its positions."""
        return self.length

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        *_: Any,
        **__: Any,
    ) -> Layer:
        """Old and new keys and values of one layer, (B, heads, P + W, head width)."""
        self.layer = layer_idx
        if not self.kept or self.apart:
            both = key_states, value_states
        else:
            keys, values = self.kept[layer_idx]
            rows = (len(key_states), -1, -1, -1)
            both = (
                torch.cat([keys.expand(rows), key_states], dim=2),
                torch.cat([values.expand(rows), value_states], dim=2),
            )
        if self.record:
            self.grown[layer_idx] = both
        return both


def layers_of(cache: Any) -> Layers:
    """The layers of a transformers cache of batch 1; none for None."""
    if cache is None:
        return {}
    inner = getattr(cache, "self_attention_cache", cache)
    return {i: (layer.keys, layer.values) for i, layer in enumerate(inner.layers)}
