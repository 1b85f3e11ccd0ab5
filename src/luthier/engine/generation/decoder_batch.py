"""Sequences that a decoder generates, each with a row of the key–value cache of its own.

A row of the cache begins with the first token of its sequence, so that key k stands at position k.
The last sequence moves to the row of one that ends, and a new sequence takes the next free row: the
sequences in between never move, and a step reads no padding but that of shorter ones.

What all prompts share is computed once, and equal prompts (several samples of one) are computed
once.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from luthier.engine.masks import attention_masks
from luthier.engine.memory import ModelShape, memory_cap
from luthier.engine.session import Session

SHARED_AT_LEAST = 16  # shorter shared prefixes cost more to copy than to compute again
TOKENS_A_PREFILL = 4096  # activations of one batch of prompts stay in tens of megabytes
CACHE_BYTES = 2 << 30  # at most, keys and values of all rows together


class PreallocatedLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one layer: (rows, heads, capacity, D), of which a part is in use.

    `ends` (rows in use,) says where each row's next key goes, `longest` counts the tokens of the
    longest row with the next one.
    """

    ends: torch.Tensor
    longest = 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add one token a row, (rows, heads, 1, D), and return all that may be attended to."""
        n = len(self.ends)
        rows = torch.arange(n, device=self.ends.device)
        self.keys[rows, :, self.ends] = key_states[:, :, 0]
        self.values[rows, :, self.ends] = value_states[:, :, 0]
        return self.keys[:n, :, : self.longest], self.values[:n, :, : self.longest]

    def get_seq_length(self) -> int:
        """Tokens in the longest row before this step."""
        return max(0, self.longest - 1)


class DecoderBatch:
    """The sequences that are being generated, at most `most` at once.

    `prompts` are the prompts of all sequences to come, virtual tokens in place: they say what is
    shared and, with `longest_answer` tokens more, how long a row of the cache must be.
    """

    def __init__(
        self, session: Session, prompts: Sequence[Sequence[int]], *, most: int, longest_answer: int
    ) -> None:
        self.session = session
        self.computed = 0  # tokens run so far
        self._cache = session.prefix_cache(1)
        self._past = 0 if self._cache is None else int(self._cache.get_seq_length())
        self._shared = shared_tokens(prompts)
        self._capacity = self._past + max(len(p) for p in prompts) + longest_answer
        row_bytes = self._capacity * ModelShape.of(session).key_value_bytes()
        self.most = max(1, min(most, min(CACHE_BYTES, memory_cap(session.device)) // row_bytes))
        self._layers: list[PreallocatedLayer] = []
        self._lengths: list[int] = []  # keys of each row in use
        self._prompts: list[tuple[int, ...]] = []
        self._firsts: list[torch.Tensor] = []  # logits after each prompt
        if self._shared:
            self._cache = self._forward([list(prompts[0][: self._shared])], self._cache)[1]
            self._past += self._shared

    @property
    def free(self) -> int:
        """How many more sequences may join."""
        return self.most - len(self._lengths)

    def admit(self, prompts: Sequence[Sequence[int]]) -> torch.Tensor:
        """Take in prompts, each into the next free row: logits (rows, V) of what follows them."""
        wanted = [tuple(p) for p in prompts]
        new = [p for p in dict.fromkeys(wanted) if p not in self._prompts]
        fresh: dict[tuple[int, ...], tuple[torch.Tensor, Any, int]] = {}
        while new:
            width = max(len(p) for p in new) - self._shared
            batch = new[: max(1, TOKENS_A_PREFILL // width)]
            new = new[len(batch) :]
            logits, cache = self._forward([list(p[self._shared :]) for p in batch], self._cache)
            fresh |= {p: (logits[b], cache, b) for b, p in enumerate(batch)}
        for prompt in wanted:
            length = self._past + len(prompt) - self._shared
            if prompt in fresh:
                first, cache, row = fresh[prompt]
                self._fill(cache.layers, row, length, start=cache.get_seq_length() - length)
            else:
                row = self._prompts.index(prompt)
                first = self._firsts[row]
                self._fill(self._layers, row, length, start=0)
            self._lengths.append(length)
            self._prompts.append(prompt)
            self._firsts.append(first)
        return torch.stack(self._firsts[len(self._firsts) - len(wanted) :])

    def step(self, tokens: Sequence[int]) -> torch.Tensor:
        """Append one token to every row: logits (rows, V) of what follows."""
        session, rows = self.session, len(self._lengths)
        ends = torch.tensor(self._lengths, device=session.device)
        longest = max(self._lengths) + 1
        for layer in self._layers:
            layer.ends, layer.longest = ends, longest
        positions = ends.unsqueeze(1)
        keys = torch.arange(longest, device=session.device).expand(rows, longest)
        seen = (keys <= positions).unsqueeze(1)
        out = session.module(
            inputs_embeds=session.embed(torch.tensor(tokens, device=session.device).unsqueeze(1)),
            attention_mask=attention_masks(session, seen, positions, keys),
            position_ids=positions,
            past_key_values=Cache(layers=list(self._layers)),
            use_cache=True,
            logits_to_keep=1,
        )
        self._lengths = [n + 1 for n in self._lengths]
        self.computed += rows
        logits: torch.Tensor = out.logits[:, -1].float()
        return logits

    def keep(self, order: Sequence[int]) -> None:
        """Go on with these rows, row `order[i]` in row i: copies only where the two differ."""
        for target, row in enumerate(order):
            if target != row:
                self._fill(self._layers, row, self._lengths[row], start=0, target=target)
        self._lengths = [self._lengths[row] for row in order]
        self._prompts = [self._prompts[row] for row in order]
        self._firsts = [self._firsts[row] for row in order]

    def _forward(self, rows: Sequence[list[int]], cache: Any) -> tuple[torch.Tensor, Any]:
        """The last logits (B, V) of rows that follow the cache (of batch 1), and the new cache."""
        session = self.session
        past = 0 if cache is None else int(cache.get_seq_length())
        cache = DynamicCache() if cache is None else copy.deepcopy(cache)
        if past and len(rows) > 1:
            cache.batch_repeat_interleave(len(rows))
        width = max(len(r) for r in rows)
        pad = session.tokenizer.pad_token_id or 0
        device = session.device
        ids = torch.tensor([[pad] * (width - len(r)) + r for r in rows], device=device)
        padding = torch.tensor([[width - len(r)] for r in rows], device=device)
        own = torch.arange(width, device=device).expand(len(rows), width)
        positions = (past + own - padding).clamp(min=0)
        cached = torch.arange(past, device=device).expand(len(rows), past)
        keys = torch.cat([cached, positions], dim=1)
        real = torch.cat([torch.ones_like(cached, dtype=torch.bool), own >= padding], dim=1)
        before = torch.arange(past + width, device=device) <= past + own.unsqueeze(-1)
        out = session.module(
            inputs_embeds=session.embed(ids),
            attention_mask=attention_masks(session, real.unsqueeze(1) & before, positions, keys),
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self.computed += sum(len(r) for r in rows)
        return out.logits[:, -1].float(), out.past_key_values

    def _fill(
        self, layers: Sequence[Any], row: int, length: int, *, start: int, target: int | None = None
    ) -> None:
        """Copy a row of `length` keys into the row `target`, by default the next free one.

        `start` is how far its own tokens stand behind their positions: by the padding that the
        batch of prompts has and the rows of the cache do not.
        """
        target = len(self._lengths) if target is None else target
        past = self._past
        for k, source in enumerate(layers):
            if k == len(self._layers):
                self._layers.append(_empty(source, self.most, self._capacity))
            layer = self._layers[k]
            for new, old in ((layer.keys, source.keys), (layer.values, source.values)):
                new[target, :, :past] = old[row, :, :past]
                new[target, :, past:length] = old[row, :, past + start : length + start]


def shared_tokens(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens all prompts begin with, at least one token of each left over; 0 where these
    are too few to be worth it."""
    distinct = list(dict.fromkeys(tuple(p) for p in prompts))
    if len(distinct) < 2:
        return 0
    first, last = min(distinct), max(distinct)  # what the extremes share, all share
    most = min(len(p) for p in distinct) - 1
    shared = 0
    while shared < most and first[shared] == last[shared]:
        shared += 1
    return shared if shared >= SHARED_AT_LEAST else 0


def _empty(like: Any, rows: int, capacity: int) -> PreallocatedLayer:
    layer = PreallocatedLayer()
    layer.is_initialized = True
    _, heads, _, width = like.keys.shape
    layer.keys = like.keys.new_zeros(rows, heads, capacity, width)
    layer.values = like.values.new_zeros(rows, heads, capacity, like.values.shape[-1])
    return layer
