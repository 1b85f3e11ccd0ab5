"""Keys and values of a shared prefix: kept once, read by every row of a batch."""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache

# Of each layer, keys and values, (1, heads, P, head width).
KeyValues = dict[int, tuple[torch.Tensor, torch.Tensor]]


class SharedPrefixCache(DynamicCache):  # type: ignore[misc]
    """Keys and values of batch 1, widened to the batch while a layer runs and only then.

    transformers' own cache would hold a copy for every row of the batch in every layer.

    - `kept`: the keys and values of the prefix. They never change, so that one object serves any
      number of batches.
    - `record`: collect those of the prefix and of the new tokens together, in `grown`.
    - `apart`: while this is true the layers get their new keys and values alone, and `layer` says
      which layer runs; `shared_attention` reads the kept ones.
    """

    def __init__(self, kept: KeyValues, *, record: bool = False) -> None:
        super().__init__()
        self.kept = kept
        self.record = record
        self.grown: KeyValues = {}
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
    ) -> tuple[torch.Tensor, torch.Tensor]:
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


def key_values_of(cache: Any) -> KeyValues:
    """The keys and values in a transformers cache of batch 1; empty for None."""
    if cache is None:
        return {}
    inner = getattr(cache, "self_attention_cache", cache)
    return {i: (layer.keys, layer.values) for i, layer in enumerate(inner.layers)}
