"""Attention of a few new tokens to many kept ones, row by row and by plain products.

torch's fused attention wants old and new keys in one tensor. Joined, the old ones are padded and
copied in every layer of every step, widened to all heads, and given gradients that nobody asks
for. Here each row's queries meet its own kept keys where these lie, and its weights stay in the
processor's cache: a step of 16 rows of 20 new tokens took 0.23 s and not 0.39 after 400 tokens,
0.165 and 0.168 after 80. After a short past the fused one is faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache

from luthier.models.local.products import Float32Attention
from luthier.models.local.session import Session
from luthier.models.local.tree.masks import sliding_window
from luthier.training.soft.past import Past

MOST_WEIGHTS = 8_000_000  # of one layer, kept for the backward pass; above that the fused one
LONGER = 4  # times as many kept tokens as new ones


def stays_aside(session: Session, past: Past, rows: int, width: int) -> bool:
    """Whether `width` new tokens in each of `rows` rows should attend by plain products."""
    if session.device.type != "cpu":
        return False
    config = session.module.config.get_text_config()
    longest = int(past.lengths.max())
    weights = rows * config.num_attention_heads * width * (width + longest)
    pays = longest >= LONGER * width and weights <= MOST_WEIGHTS
    return bool(config._attn_implementation == "sdpa" and pays)


class Aside(DynamicCache):  # type: ignore[misc]
    """Gives each layer its new keys and values alone; the kept ones are read by `PlainProducts`."""

    def __init__(self, past: Past) -> None:
        super().__init__()
        self.past = past
        self.layer = 0  # the one that runs

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """What the model asks to know its positions."""
        return int(self.past.lengths.max())

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *_: Any,
        **__: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
        """The new ones as they are."""
        self.layer = layer_idx
        return key_states, value_states


class PlainProducts(Float32Attention):
    """Inside it attention sees the kept keys before those it is given; the mask (R, 1, W, S + W)
    covers both. Kept row n serves R / N rows, in their order."""

    def __init__(self, session: Session, cache: Aside) -> None:
        super().__init__()
        self.cache = cache
        self.slides = bool(sliding_window(session.module.config.get_text_config()))

    def attend(self, given: dict[str, Any]) -> torch.Tensor:
        """(R, heads, W, D) over the kept tokens and over the new ones. Queries that read the same
        kept keys, of the rows that share them and of the heads that share a key head, stand in one
        matrix."""
        query, key, value, mask = (given[n] for n in ("query", "key", "value", "attn_mask"))
        past, layer = self.cache.past, self.cache.layer
        rows, heads, width, size = query.shape
        held, few = len(past.lengths), past.parts(layer, 0)[0][0].shape[0]
        each, many, longest = rows // held, heads // few, mask.shape[-1] - width

        def by_kept(joint: torch.Tensor) -> Sequence[torch.Tensor]:
            """(R, heads, W, X) as (key heads, queries, X) for each kept row."""
            cut = joint.reshape(held, each, few, many * width, -1).transpose(1, 2)
            return cut.reshape(held, few, each * many * width, -1).unbind()

        def by_row(cut: Sequence[torch.Tensor]) -> torch.Tensor:
            """And back."""
            joint = torch.stack(tuple(cut)).reshape(held, few, each, many * width, -1)
            return joint.transpose(1, 2).reshape(rows, heads, width, -1)

        scale = given.get("scale")
        query = query * (size**-0.5 if scale is None else scale)
        if key.shape[1] != heads:
            key, value = (t.repeat_interleave(many, 1) for t in (key, value))
        own = query @ key.transpose(-1, -2) + mask[..., longest:]
        read, left = [], []
        for n, (queries, new) in enumerate(zip(by_kept(query), by_kept(own), strict=True)):
            parts = [(k.float(), v.float()) for k, v in past.parts(layer, n)]
            spans = [k.shape[1] for k, _ in parts]
            scores = [queries @ k.transpose(-1, -2) for k, _ in parts]
            if self.slides:  # only then does a query not see every kept token
                seen = mask[n * each : (n + 1) * each, :, :, : sum(spans)]
                seen = seen.expand(-1, many, -1, -1).reshape(each * many * width, -1)
                scores = [s + m for s, m in zip(scores, seen.split(spans, -1), strict=True)]
            weights = torch.split(torch.cat([*scores, new], -1).softmax(-1), [*spans, width], -1)
            found = [w @ v for w, (_, v) in zip(weights, parts, strict=False)]
            read.append(found[0] if len(found) == 1 else torch.stack(found).sum(0))
            left.append(weights[-1])
        out: torch.Tensor = by_row(read) + by_row(left) @ value
        return out
