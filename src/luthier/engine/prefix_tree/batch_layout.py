"""The layout of a batch: where each token of a packed row stands, its position, and what it sees.

    [prefix tokens, shared ones once …] [tree of the first prefix] [tree of the second] …

The order within a row is free, for positions and visibility are given explicitly. With the
continuation trees at the right edge the language-model head runs on the last few places only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch

from luthier.engine.prefix_tree.continuation_tree import ContinuationTree
from luthier.engine.prefix_tree.planner import PackedRow, Segment, shared_length

Span = tuple[int, int]  # places in a row, the second one excluded


class PrefixSpan(NamedTuple):
    """`length` tokens of a prefix from place `start` on, which see the places `visible` too."""

    start: int
    length: int
    visible: tuple[Span, ...]


class TreeSpan(NamedTuple):
    """A continuation tree from place `start` on; `visible` are the places of its prefix.

    `computed` counts the tokens that stand in the row for this segment and for none before it.
    """

    start: int
    tree: ContinuationTree
    visible: tuple[Span, ...]
    computed: int


@dataclass(frozen=True, slots=True)
class RowLayout:
    """One packed row after tokens whose keys and values are kept elsewhere.

    `depths` are positions counted from the end of those tokens. `keep` is how many places from the
    right edge on have predictions that are read.
    """

    ids: list[int]
    depths: list[int]
    prefixes: list[PrefixSpan]
    trees: list[TreeSpan]
    keep: int


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """B rows of width W after `past` kept tokens, each row's tokens at its right edge.

    `ids` and `positions` are (B, W), `visible` is (B, W, past + W) bool; predictions are read at
    the last `keep` places.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    visible: torch.Tensor
    keep: int


def row_layout(packed_row: PackedRow, start: int) -> RowLayout:
    """The layout after `start` kept tokens: first the prefixes, neighbours sharing what they have
    in common, then the trees."""
    ids: list[int] = []
    depths: list[int] = []
    prefixes: list[PrefixSpan] = []
    paths: list[tuple[tuple[Span, ...], int]] = []  # of each segment: its prefix, tokens computed
    spans: list[Span] = []
    before: Segment | None = None
    for segment in packed_row.segments:
        common = start
        if before is not None:
            common = max(start, shared_length(before.prefix, segment.prefix))
        spans = _first(spans, common - start)
        fresh = segment.prefix[common:-1]
        if fresh:
            prefixes.append(PrefixSpan(len(ids), len(fresh), tuple(spans)))
            spans = [*spans, (len(ids), len(ids) + len(fresh))]
            depths += range(common - start, common - start + len(fresh))
            ids += fresh
        paths.append((tuple(spans), len(fresh) + len(segment.tree.ids)))
        before = segment
    trees = []
    edge = len(ids)
    for segment, (visible, computed) in zip(packed_row.segments, paths, strict=True):
        trees.append(TreeSpan(len(ids), segment.tree, visible, computed))
        end = len(segment.prefix) - 1 - start
        depths += [end + d for d in segment.tree.depths]
        ids += segment.tree.ids
    return RowLayout(ids, depths, prefixes, trees, len(ids) - edge)


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


def packed_batch(layouts: list[RowLayout], past: int, pad: int) -> PackedBatch:
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
        for start, length, seen in row.prefixes:
            block = own[start : start + length]
            for lo, hi in seen:
                block[:, lo:hi] = True
            block[:, start : start + length] = torch.ones(length, length, dtype=torch.bool).tril()
        for start, tree, seen, _ in row.trees:
            n = len(tree.ids)
            block = own[start : start + n]
            for lo, hi in seen:
                block[:, lo:hi] = True
            block[:, start : start + n] = tree_mask(tree)
    return PackedBatch(ids, positions, visible, max(row.keep for row in layouts))
