"""Attention of a few new tokens to many cached ones, row by row and by plain matrix products.

torch's fused attention wants old and new keys in one tensor. Joined, the old ones are padded and
copied in every layer of every step, widened to all heads, and given gradients that nobody needs.
Here each row's queries meet its own cached keys where these lie, and its weights stay in the
processor's cache: a step of 16 rows of 20 new tokens took 0.23 s and not 0.39 after 400 tokens,
0.165 and 0.168 after 80. After a short past the fused one is faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache

from luthier.engine import (
    Float32Attention,
    Session,
    sliding_window,
    supports_split_attention,
)
from luthier.training.prompt_tuning.past_key_values import CachedPast, Layers

MOST_WEIGHTS = 8_000_000  # of one layer, kept for the backward pass; above that the fused one
LONGER = 4  # times as many kept tokens as new ones


def pays_to_split(session: Session, past: CachedPast, rows: int, width: int) -> bool:
    """Whether `width` new tokens in each of `rows` rows should attend by plain products."""
    if session.device.type != "cpu":
        return False
    config = session.module.config.get_text_config()
    longest = int(past.lengths.max())
    weights = rows * config.num_attention_heads * width * (width + longest)
    pays = longest >= LONGER * width and weights <= MOST_WEIGHTS
    sdpa = config._attn_implementation == "sdpa"
    return bool(sdpa and pays) and supports_split_attention(session)


class SeparateCache(DynamicCache):  # type: ignore[misc]
    """Gives each layer its new keys and values alone; `CachedAttention` reads the cached ones."""

    def __init__(self, past: CachedPast) -> None:
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
        """The new keys and values as they are."""
        self.layer = layer_idx
        return key_states, value_states


class CachedAttention(Float32Attention):
    """Inside it attention sees the kept keys before those it is given; the mask (R, 1, W, S + W)
    covers both. Kept row n serves R / N rows, in their order."""

    def __init__(self, session: Session, cache: SeparateCache) -> None:
        super().__init__()
        self.cache = cache
        self.slides = bool(sliding_window(session.module.config.get_text_config()))

    def attend(self, given: dict[str, Any]) -> torch.Tensor:
        """(R, heads, W, D), read from the cached tokens and from the new ones.

        There may be more new tokens than queries. Queries that read the same cached keys, of the
        rows that share them and of the heads that share a key head, stand in one matrix.
        """
        query, key, value, mask = (given[n] for n in ("query", "key", "value", "attn_mask"))
        past, layer = self.cache.past, self.cache.layer
        rows, heads, width, size = query.shape
        cached_rows, key_heads = len(past.lengths), past.parts(layer, 0)[0][0].shape[0]
        rows_per_cached, heads_per_key, longest = (
            rows // cached_rows,
            heads // key_heads,
            mask.shape[-1] - key.shape[2],
        )

        def by_cached_row(joint: torch.Tensor) -> torch.Tensor:
            """(R, heads, W, X) as (N, key heads, queries, X)."""
            cut = joint.reshape(
                cached_rows, rows_per_cached, key_heads, heads_per_key * width, -1
            ).transpose(1, 2)
            return cut.reshape(cached_rows, key_heads, rows_per_cached * heads_per_key * width, -1)

        def by_row(cut: torch.Tensor) -> torch.Tensor:
            """The same the other way round."""
            joint = cut.reshape(
                cached_rows, key_heads, rows_per_cached, heads_per_key * width, -1
            ).transpose(1, 2)
            return joint.reshape(rows, heads, width, -1)

        scale = given.get("scale")
        query = query * (size**-0.5 if scale is None else scale)
        if key.shape[1] != heads:
            key, value = (t.repeat_interleave(heads_per_key, 1) for t in (key, value))
        new_scores = query @ key.transpose(-1, -2) + mask[..., longest:]
        hidden = None
        if self.slides:  # only then does a query not see every cached token
            hidden = (
                mask[..., :longest]
                .expand(-1, heads_per_key, -1, -1)
                .reshape(cached_rows, -1, longest)
            )
        cached = [past.parts(layer, n) for n in range(cached_rows)]
        read, weights = _OverPast.apply(  # type: ignore[no-untyped-call]
            by_cached_row(query), by_cached_row(new_scores), cached, hidden
        )
        out: torch.Tensor = by_row(read) + by_row(weights) @ value
        return out


class _OverPast(torch.autograd.Function):
    """Attention of N × Q queries to `kept`, the cached keys and values of each row.

    Returns (N, key heads, Q, D), what was read from them, and (N, key heads, Q, W), the weights
    left for the new tokens, whose scores are `own`. `hidden` (N, Q, S) is added to the scores of
    cached tokens. The backward pass is written out, for autograd would record a dozen operations
    for every row.
    """

    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, own: torch.Tensor, kept: Sequence[Layers],
        hidden: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
        """Softmax over the scores of cached and new tokens together."""
        read = query.new_zeros(*query.shape[:-1], kept[0][0][1].shape[-1])
        left, ctx.kept, ctx.weights = torch.empty_like(own), kept, []
        for n, parts in enumerate(kept):
            scores = [query[n] @ k.to(query.dtype).transpose(-1, -2) for k, _ in parts]
            spans = [s.shape[-1] for s in scores]
            if hidden is not None:
                seen = torch.split(hidden[n, :, : sum(spans)], spans, -1)
                scores = [s + h for s, h in zip(scores, seen, strict=True)]
            weights = torch.cat([*scores, own[n]], -1).softmax(-1)
            *before, left[n] = torch.split(weights, [*spans, own.shape[-1]], -1)
            for w, (_, v) in zip(before, parts, strict=True):
                read[n].baddbmm_(w, v.to(query.dtype))
            ctx.weights.append(weights)
        return read, left

    @staticmethod
    def backward(ctx: Any, *given: torch.Tensor) -> Any:
        """The gradients of the queries and of the new scores."""
        of_read, of_left = given
        width = ctx.kept[0][0][0].shape[-1]
        of_query = of_read.new_zeros(*of_read.shape[:-1], width)
        of_own = torch.empty_like(of_left)
        for n, (parts, weights) in enumerate(zip(ctx.kept, ctx.weights, strict=True)):
            like = [of_read[n] @ v.to(of_read.dtype).transpose(-1, -2) for _, v in parts]
            spans = [x.shape[-1] for x in like]
            of_weights = torch.cat([*like, of_left[n]], -1)
            of_scores = torch.ops.aten._softmax_backward_data(
                of_weights, weights, -1, weights.dtype
            )
            *before, of_own[n] = torch.split(of_scores, [*spans, of_left.shape[-1]], -1)
            for x, (k, _) in zip(before, parts, strict=True):
                of_query[n].baddbmm_(x, k.to(of_read.dtype))
        return of_query, of_own, None, None
