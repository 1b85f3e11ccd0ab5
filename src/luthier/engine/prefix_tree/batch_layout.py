"""A packed row as one row: where each token stands, its position, and what it sees.

    [prefix tokens, shared ones once …] [continuation tree of the first prefix] [continuation tree of the second] …

The order of a row is free, for positions and visibility are given explicitly; with the trees at the
right edge the language-model head runs on the last few places only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch

from luthier.engine.prefix_tree.continuation_tree import ContinuationTree
from luthier.engine.prefix_tree.planner import PackedRow, RowPart, shared_length

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class RowLayout:
    """A packed row laid out after `start` tokens that are kept elsewhere. `depths` count from there.

    `stems` are stretches of prefix (place, length, spans seen before it); `trees` are (place, tree,
    spans of its prefix, fresh tokens of this work).
    """

    ids: list[int]
    depths: list[int]
    stems: list[tuple[int, int, tuple[Span, ...]]]
    trees: list[tuple[int, ContinuationTree, tuple[Span, ...], int]]
    keep: int


def layout_row(packed_row: PackedRow, start: int) -> RowLayout:
    """Stems first, sharing what neighbours share, then the trees."""
    ids: list[int] = []
    depths: list[int] = []
    stems: list[tuple[int, int, tuple[Span, ...]]] = []
    prefixes: list[tuple[tuple[Span, ...], int]] = []
    spans: list[Span] = []
    before: RowPart | None = None
    for part in packed_row.parts:
        common = start if before is None else max(start, shared_length(before.prefix, part.prefix))
        spans = _first(spans, common - start)
        fresh = part.prefix[common:-1]
        if fresh:
            stems.append((len(ids), len(fresh), tuple(spans)))
            spans = [*spans, (len(ids), len(ids) + len(fresh))]
            depths += range(common - start, common - start + len(fresh))
            ids += fresh
        prefixes.append((tuple(spans), len(fresh) + len(part.tree.ids)))
        before = part
    trees = []
    stemmed = len(ids)
    for part, (seen, count) in zip(packed_row.parts, prefixes, strict=True):
        trees.append((len(ids), part.tree, seen, count))
        end = len(part.prefix) - 1 - start
        depths += [end + d for d in part.tree.depths]
        ids += part.tree.ids
    return RowLayout(ids, depths, stems, trees, len(ids) - stemmed)


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
def tree_mask(tree: ContinuationTree) -> torch.Tensor:
    """(n, n) bool: a node sees itself and its ancestors."""
    seen = torch.eye(len(tree.ids), dtype=torch.bool)
    for node, parent in enumerate(tree.parents):
        if parent >= 0:
            seen[node] |= seen[parent]
    return seen


@dataclass(frozen=True, slots=True)
class TreeBatch:
    """B rows of width W after `past` kept tokens, each row's tokens at its right edge.

    `ids`, `positions` are (B, W); `visible` (B, W, past + W) bool; the answers are read at the
    last `keep` places.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    visible: torch.Tensor
    keep: int


def tree_batch(layouts: list[RowLayout], past: int, pad: int) -> TreeBatch:
    """Pad rows on the left. `past` counts kept tokens, those of a prefix adapter among them."""
    width = max(len(row.ids) for row in layouts)
    size = len(layouts)
    ids = torch.full((size, width), pad, dtype=torch.long)
    positions = torch.zeros((size, width), dtype=torch.long)
    visible = torch.zeros((size, width, past + width), dtype=torch.bool)
    for b, row in enumerate(layouts):
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
        for place, tree, seen, _ in row.trees:
            n = len(tree.ids)
            block = own[place : place + n]
            for lo, hi in seen:
                block[:, lo:hi] = True
            block[:, place : place + n] = tree_mask(tree)
    return TreeBatch(ids, positions, visible, max(row.keep for row in layouts))
