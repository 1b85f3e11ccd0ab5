"""A pack as one row: where each token stands, its position, and what it sees.

    [trunk tokens, shared ones once …] [foot of the first trunk] [foot of the second] …

The order of a row is free, for positions and visibility are given explicitly; with the feet at the
right edge the language-model head runs on the last few places only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch

from luthier.models.local.tree.feet import Foot
from luthier.models.local.tree.plan import Pack, Work, shared

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Laid:
    """A pack laid out after `start` tokens that are kept elsewhere. `depths` count from there.

    `stems` are stretches of trunk (place, length, spans seen before it); `feet` are (place, foot,
    spans of its trunk, fresh tokens of this work).
    """

    ids: list[int]
    depths: list[int]
    stems: list[tuple[int, int, tuple[Span, ...]]]
    feet: list[tuple[int, Foot, tuple[Span, ...], int]]
    keep: int


def lay(pack: Pack, start: int) -> Laid:
    """Stems first, sharing what neighbours share, then the feet."""
    ids: list[int] = []
    depths: list[int] = []
    stems: list[tuple[int, int, tuple[Span, ...]]] = []
    trunks: list[tuple[tuple[Span, ...], int]] = []
    spans: list[Span] = []
    before: Work | None = None
    for work in pack.works:
        common = start if before is None else max(start, shared(before.trunk, work.trunk))
        spans = _first(spans, common - start)
        fresh = work.trunk[common:-1]
        if fresh:
            stems.append((len(ids), len(fresh), tuple(spans)))
            spans = [*spans, (len(ids), len(ids) + len(fresh))]
            depths += range(common - start, common - start + len(fresh))
            ids += fresh
        trunks.append((tuple(spans), len(fresh) + len(work.foot.ids)))
        before = work
    feet = []
    stemmed = len(ids)
    for work, (seen, count) in zip(pack.works, trunks, strict=True):
        feet.append((len(ids), work.foot, seen, count))
        end = len(work.trunk) - 1 - start
        depths += [end + d for d in work.foot.depths]
        ids += work.foot.ids
    return Laid(ids, depths, stems, feet, len(ids) - stemmed)


def _first(spans: list[Span], tokens: int) -> list[Span]:
    """The first `tokens` places of a path."""
    kept = []
    for lo, hi in spans:
        if tokens <= 0:
            break
        kept.append((lo, min(hi, lo + tokens)))
        tokens -= hi - lo
    return kept


@lru_cache(maxsize=1024)
def foot_mask(foot: Foot) -> torch.Tensor:
    """(n, n) bool: a node sees itself and its ancestors."""
    seen = torch.eye(len(foot.ids), dtype=torch.bool)
    for node, parent in enumerate(foot.parents):
        if parent >= 0:
            seen[node] |= seen[parent]
    return seen


@dataclass(frozen=True, slots=True)
class Batch:
    """B rows of width W after `past` kept tokens, each row's tokens at its right edge.

    `ids`, `positions` are (B, W); `visible` (B, W, past + W) bool; the answers are read at the
    last `keep` places.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    visible: torch.Tensor
    keep: int


def batch_of(laid: list[Laid], past: int, pad: int) -> Batch:
    """Pad rows on the left. `past` counts kept tokens, those of a prefix adapter among them."""
    width = max(len(row.ids) for row in laid)
    size = len(laid)
    ids = torch.full((size, width), pad, dtype=torch.long)
    positions = torch.zeros((size, width), dtype=torch.long)
    visible = torch.zeros((size, width, past + width), dtype=torch.bool)
    for b, row in enumerate(laid):
        at = width - len(row.ids)
        ids[b, at:] = torch.tensor(row.ids, dtype=torch.long)
        positions[b, at:] = torch.tensor(row.depths, dtype=torch.long) + past
        visible[b, at:, :past] = True
        own = visible[b, at:, past + at :]
        for place, length, seen in row.stems:
            block = own[place : place + length]
            for lo, hi in seen:
                block[:, lo:hi] = True
            block[:, place : place + length] = torch.ones(length, length, dtype=torch.bool).tril()
        for place, foot, seen, _ in row.feet:
            n = len(foot.ids)
            block = own[place : place + n]
            for lo, hi in seen:
                block[:, lo:hi] = True
            block[:, place : place + n] = foot_mask(foot)
    return Batch(ids, positions, visible, max(row.keep for row in laid))
