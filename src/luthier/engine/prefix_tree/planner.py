"""The plan: which shared prefixes are computed once and kept, and which rows run together.

The planner knows nothing of tensors. The prefixes form a tree of tokens, which it cuts into nodes,
whose keys and values are kept while everything below them runs, and packed rows: small subtrees
that stand in one row of a batch, under a tree mask.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

from luthier.engine.prefix_tree.continuation_tree import ContinuationTree, continuation_trees
from luthier.engine.request_rows import Ids, TokenRow


@dataclass(frozen=True, slots=True)
class PlanLimits:
    """What the planner weighs, in tokens.

    `call`: a node gets a forward pass of its own when it saves more than this. `packed_row`: the
    widest subtree that stands in one row. `tree`: the most continuation tokens of a row; above it
    the continuations are divided. `kept`: the longest path of kept prefixes that memory allows.
    """

    call: int = 64
    packed_row: int = 256
    tree: int = 512
    kept: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Segment:
    """A prefix with some of its continuations: one part of a packed row.

    `row` and `continuations` number the results: continuation k of the tree is number
    `continuations[k]` of the `TokenRow` that is number `row`.
    """

    prefix: Ids
    tree: ContinuationTree
    row: int
    continuations: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PackedRow:
    """Segments that stand in one row of a batch. They share at least the prefix of their node."""

    segments: tuple[Segment, ...]
    width: int
    adapter: int


@dataclass(slots=True)
class PrefixNode:
    """Tokens `start:stop` of the prefix of `sample`, computed once for all that is below."""

    sample: Segment | None
    start: int
    stop: int
    adapter: int = 0
    packed_rows: list[PackedRow] = field(default_factory=list)
    children: list[PrefixNode] = field(default_factory=list)


def plan_tree(rows: Sequence[TokenRow], limits: PlanLimits) -> PrefixNode:
    """The tree of nodes. Its root is empty, and rows of different adapters meet there only."""
    root = PrefixNode(None, 0, 0)
    by_adapter: dict[int, list[Segment]] = {}
    for number, row in enumerate(rows):
        by_adapter.setdefault(row.adapter, []).extend(_segments(row, number, limits.tree))
    for adapter, segments in by_adapter.items():
        _grow(root, segments, adapter, limits)
    return root


def _segments(row: TokenRow, number: int, most: int) -> Iterator[Segment]:
    for tree, which in continuation_trees(row.continuations, row.prefix[-1], most):
        yield Segment(row.prefix, tree, number, which)


def _grow(root: PrefixNode, segments: list[Segment], adapter: int, limits: PlanLimits) -> None:
    segments.sort(key=lambda s: s.prefix)
    # shared[i]: tokens that segment i has in common with the one before it, their ends left out.
    shared = [0] + [shared_length(a.prefix, b.prefix) for a, b in pairwise(segments)]
    fresh = [len(s.prefix) + len(s.tree.ids) - 1 - n for s, n in zip(segments, shared, strict=True)]
    until = [0, *accumulate(fresh)]

    def tokens(lo: int, hi: int, start: int) -> int:
        return until[hi] - until[lo] + shared[lo] - start

    def packed(spans: Sequence[tuple[int, int]], start: int) -> PackedRow:
        members = tuple(segments[i] for lo, hi in spans for i in range(lo, hi))
        width = tokens(spans[0][0], spans[0][1], start)
        for (lo, hi), (_, before) in zip(spans[1:], spans, strict=False):
            width += tokens(lo, hi, min(shared[before : lo + 1]))
        return PackedRow(members, width, adapter)

    waiting = [(0, len(segments), root)]
    while waiting:
        lo, hi, node = waiting.pop()
        start = node.stop
        if hi - lo == 1:
            node.packed_rows.append(packed([(lo, hi)], start))
            continue
        common = min(shared[lo + 1 : hi])
        if common > start and tokens(lo, hi, start) <= limits.packed_row:
            node.packed_rows.append(packed([(lo, hi)], start))
            continue
        groups = _groups(shared, lo, hi, common)
        if common == start:
            waiting += [(a, b, node) for a, b in reversed(groups)]
            continue
        length = common - start
        sizes = [tokens(a, b, common) for a, b in groups]
        bins = _bins(groups, sizes, limits.packed_row - length)
        if length * (len(bins) - 1) > limits.call and common <= limits.kept:
            child = PrefixNode(segments[lo], start, common, adapter)
            node.children.append(child)
            waiting += [(a, b, child) for a, b in reversed(groups)]
            continue
        for spans in bins:
            if len(spans) > 1:
                node.packed_rows.append(packed(spans, start))
            else:
                waiting.append((*spans[0], node))


def _groups(shared: Sequence[int], lo: int, hi: int, common: int) -> list[tuple[int, int]]:
    """Cut where neighbours share no more than `common`."""
    cuts = [lo, *(i for i in range(lo + 1, hi) if shared[i] <= common), hi]
    return list(pairwise(cuts))


def _bins(
    groups: Sequence[tuple[int, int]], sizes: Sequence[int], capacity: int
) -> list[list[tuple[int, int]]]:
    """Neighbouring groups together, as many as fit into `capacity` tokens."""
    bins: list[list[tuple[int, int]]] = []
    left = -1
    for group, size in zip(groups, sizes, strict=True):
        if size > left:
            bins.append([])
            left = capacity
        bins[-1].append(group)
        left -= size
    return bins


def shared_length(a: Ids, b: Ids) -> int:
    """How many first tokens two prefixes have in common.

    The last token of either does not count: it is computed in the prefix's own row, where its
    prediction is read.
    """
    most = min(len(a), len(b)) - 1
    if a[:most] == b[:most]:
        return most
    return bisect_left(range(1, most + 1), True, key=lambda n: a[:n] != b[:n])
