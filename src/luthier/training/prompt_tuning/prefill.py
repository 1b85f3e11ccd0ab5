"""Keys and values of rows of ids, and nothing beyond them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch
from transformers import DynamicCache

from luthier.engine import Session
from luthier.training.prompt_tuning.last_layer import CacheFilled
from luthier.training.prompt_tuning.past_key_values import PaddedPast, PastKeyValues


def prefill(
    session: Session, rows: Sequence[list[int]], soft: torch.Tensor | None = None,
    past: PastKeyValues | None = None,
) -> PaddedPast:  # fmt: skip
    """The keys and values of rows of ids, after those of `past` (one row, shared by all).

    Rows are padded on the right: causal attention keeps what is real from seeing the padding.
    """
    lengths = torch.tensor([len(r) for r in rows])
    pad = session.tokenizer.pad_token_id or 0
    most, before = int(lengths.max()), 0
    ids = torch.tensor([r + [pad] * (most - len(r)) for r in rows], device=session.device)
    cache = _StopWhenFilled(session.module.config.get_text_config().num_hidden_layers)
    if past is not None:
        before = int(past.lengths[0])
        for i, (keys, values) in enumerate(past.layers):
            shape = (len(rows), -1, -1, -1)
            DynamicCache.update(cache, keys.expand(shape), values.expand(shape), i)
    positions = torch.arange(before, before + most, device=session.device)
    with suppress(CacheFilled):
        session.module(
            inputs_embeds=session.embed(ids, soft),
            position_ids=positions.expand(len(rows), most),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
    return PaddedPast([(layer.keys, layer.values) for layer in cache.layers], lengths + before)


class _StopWhenFilled(DynamicCache):  # type: ignore[misc]
    """Ends the pass once `count` layers are filled."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.last = count - 1

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *rest: Any,
        **named: Any,
    ) -> Any:  # fmt: skip
        """Keep the keys and values, and end the pass after those of the last layer."""
        both = super().update(key_states, value_states, layer_idx, *rest, **named)
        if layer_idx == self.last:
            raise CacheFilled
        return both
