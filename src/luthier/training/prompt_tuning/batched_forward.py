"""One forward pass for many soft prompts: prefixes and tails over keys and values that are there.

A row has `past` (keys and values that were computed before) and then columns of its own,

    [pad …] prefix 1  tail 1.1  tail 1.2  …  [pad …] prefix 2  tail 2.1  …

where a prefix sees the past and itself, and a tail sees the past, its prefix and itself. A prefix's
last token predicts the first token of each of its tails, so a tail of n tokens takes n − 1 columns.
R rows, C prefixes a row, J tails a prefix, S past tokens, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache

from luthier.engine import Session, attention_masks
from luthier.training.prompt_tuning.cached_attention import (
    CachedAttention,
    SeparateCache,
    pays_to_split,
)
from luthier.training.prompt_tuning.last_layer import restricted_last_layer
from luthier.training.prompt_tuning.past_key_values import CachedPast, PastKeyValues


@dataclass(frozen=True, slots=True)
class Columns:
    """What stands after the past: `prefixes[r][c]` and `tails[r][j]` are ids (virtual ones
    included)."""

    prefixes: Sequence[Sequence[list[int]]]
    tails: Sequence[Sequence[list[int]]]


def tail_logprobs(
    session: Session, past: PastKeyValues, columns: Columns, soft: torch.Tensor | None
) -> torch.Tensor:
    """(R, C, J) summed natural log-probabilities of tail j after prefix c; gradients flow to `soft`
    (1, P, H), whose rows the ids from `session.vocabulary` on name, and to the past. A past of
    fewer rows serves R / its rows each, in their order."""
    prefixes, tails, device = columns.prefixes, columns.tails, session.device
    rows, heads, each = len(prefixes), len(prefixes[0]), len(tails[0])
    widths = [max(len(r[c]) for r in prefixes) for c in range(heads)]
    spans = [max(len(r[j]) for r in tails) - 1 for j in range(each)]
    width = sum(widths) + heads * sum(spans)
    pad = session.tokenizer.pad_token_id or 0
    ids = torch.full((rows, width), pad, dtype=torch.long)
    real = torch.ones((rows, width), dtype=torch.bool)
    offset = torch.zeros((rows, width), dtype=torch.long)  # from the end of the past
    sees = torch.zeros((width, width), dtype=torch.bool)
    keep: list[int] = []
    places: list[list[list[int]]] = []  # of the predictions of tail j of prefix c, within `keep`
    at = 0
    for c in range(heads):
        first, last = at, at + widths[c]
        for r, row in enumerate(prefixes):
            n = len(row[c])
            ids[r, last - n : last] = torch.tensor(row[c], dtype=torch.long)
            real[r, first : last - n] = False
            offset[r, last - n : last] = torch.arange(n)
        sees[first:last, first:last] = _causal(widths[c])
        lengths = torch.tensor([len(row[c]) for row in prefixes])
        keep.append(last - 1)
        root, mine, at = len(keep) - 1, [], last
        for j in range(each):
            stop = at + spans[j]
            for r, tail in enumerate(tails):
                inner = tail[j][:-1]
                ids[r, at : at + len(inner)] = torch.tensor(inner, dtype=torch.long)
            offset[:, at:stop] = lengths.unsqueeze(1) + torch.arange(spans[j])
            sees[at:stop, first:last] = True
            sees[at:stop, at:stop] = _causal(spans[j])
            mine.append([root, *range(len(keep), len(keep) + spans[j])])
            keep += range(at, stop)
            at = stop
        places.append(mine)
    logits = _forward(session, past, ids, offset, sees & real.unsqueeze(1), keep, soft)
    norm = torch.logsumexp(logits, -1)
    out = []
    for j in range(each):
        padded = [r[j] + [-1] * (spans[j] + 1 - len(r[j])) for r in tails]
        targets = torch.tensor(padded, device=device)
        for c in range(heads):
            where = torch.tensor(places[c][j], device=device)
            found = logits[:, where].gather(-1, targets.clamp(min=0).unsqueeze(-1)).squeeze(-1)
            out.append(((found - norm[:, where]) * (targets >= 0)).sum(-1))
    return torch.stack(out, -1).reshape(rows, each, heads).transpose(1, 2)


def _forward(
    session: Session, past: PastKeyValues, ids: torch.Tensor, offset: torch.Tensor,
    sees: torch.Tensor, keep: list[int], soft: torch.Tensor | None,
) -> torch.Tensor:  # fmt: skip
    """Logits (R, len(keep), V) in float32; the head runs at these columns only."""
    device, rows = session.device, len(ids)
    each = rows // len(past.lengths)
    before = int(past.lengths.max())
    cache: Any = DynamicCache()
    reading: AbstractContextManager[Any] = nullcontext()
    if isinstance(past, CachedPast) and pays_to_split(session, past, rows, ids.shape[1]):
        cache = SeparateCache(past)
        reading = CachedAttention(session, cache)
    else:
        for i, (keys, values) in enumerate(past.layers):
            cache.update(*(t.repeat_interleave(each, 0) for t in (keys, values)), i)
    lengths = past.lengths.to(device).repeat_interleave(each).unsqueeze(1)
    positions = offset.to(device) + lengths
    cached = torch.arange(before, device=device)
    keys = torch.cat([cached.expand(rows, before), positions], dim=1)
    there = cached < lengths
    seen = there.unsqueeze(1).expand(rows, ids.shape[1], before)
    with reading, restricted_last_layer(session, keep, ids.shape[1]):
        out = session.module(
            inputs_embeds=session.embed(ids.to(device), soft),
            attention_mask=attention_masks(
                session, torch.cat([seen, sees.to(device)], -1), positions, keys
            ),
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=torch.tensor(keep, device=device),
        )
    logits: torch.Tensor = out.logits.float()
    return logits


def _causal(width: int) -> torch.Tensor:
    return torch.ones(width, width, dtype=torch.bool).tril()
