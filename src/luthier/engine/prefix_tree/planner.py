"""The plan: which shared prefixes are computed once and kept, and which rows run together.

Plain data in, plain data out; nothing here knows of tensors. The prefixes form a tree of tokens.
It is cut into nodes, whose keys and values are kept while everything below them runs, and packed rows:
small subtrees that stand in one row of a batch, under a tree mask.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

from luthier.engine.prefix_tree.continuation_tree import ContinuationTree, continuation_trees
from luthier.engine.token_rows import Ids, TokenRow


@dataclass(frozen=True, slots=True)
class Costs:
    """What the planner weighs, in tokens.

    `call`: a node is worth its own forward pass when it saves more than this. `packed_row`: the widest
    subtree that stands in one row. `tree`: the most continuation tokens of a row, else the continuations are
    divided. `kept`: the longest path of kept prefixes that memory allows.
    """

    call: int = 64
    packed_row: int = 256
    tree: int = 512
    kept: int = 1_000_000


@dataclass(frozen=True, slots=True)
class RowPart:
    """A prefix with some of its continuations; `row` and `continuations` say where the answers go."""

    prefix: Ids
    tree: ContinuationTree
    row: int
    continuations: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PackedRow:
    """Works that stand in one row. They share at least the tokens of the node they hang on."""

    parts: tuple[RowPart, ...]
    width: int
    adapter: int


@dataclass(slots=True)
class Node:
    """Tokens `start:stop` of `sample`'s prefix, computed once for all packed rows and nodes below."""

    sample: RowPart | None
    start: int
    stop: int
    adapter: int = 0
    packed_rows: list[PackedRow] = field(default_factory=list)
    children: list[Node] = field(default_factory=list)


def plan_tree(rows: Sequence[TokenRow], costs: Costs) -> Node:
    """The tree of nodes, its root empty. Packs of different adapters meet at the root only."""
    root = Node(None, 0, 0)
    by_adapter: dict[int, list[RowPart]] = {}
    for k, row in enumerate(rows):
        by_adapter.setdefault(row.adapter, []).extend(_works(row, k, costs.tree))
    for adapter, parts in by_adapter.items():
        _grow(root, parts, adapter, costs)
    return root


def _works(row: TokenRow, k: int, most: int) -> Iterable[RowPart]:
    for tree, which in continuation_trees(row.continuations, row.prefix[-1], most):
        yield RowPart(row.prefix, tree, k, which)


def _grow(root: Node, parts: list[RowPart], adapter: int, costs: Costs) -> None:
    parts.sort(key=lambda w: w.prefix)
    # share[i]: tokens that work i has in common with the one before it, their ends left out.
    share = [0] + [shared_length(a.prefix, b.prefix) for a, b in pairwise(parts)]
    fresh = [len(w.prefix) + len(w.tree.ids) - 1 - s for w, s in zip(parts, share, strict=True)]
    until = [0, *accumulate(fresh)]

    def tokens(lo: int, hi: int, start: int) -> int:
        return until[hi] - until[lo] + share[lo] - start

    def packed(spans: Sequence[tuple[int, int]], start: int) -> PackedRow:
        members = tuple(parts[i] for lo, hi in spans for i in range(lo, hi))
        width = tokens(spans[0][0], spans[0][1], start)
        for (lo, hi), (_, before) in zip(spans[1:], spans, strict=False):
            width += tokens(lo, hi, min(share[before : lo + 1]))
        return PackedRow(members, width, adapter)

    waiting = [(0, len(parts), root)]
    while waiting:
        lo, hi, node = waiting.pop()
        start = node.stop
        if hi - lo == 1:
            node.packed_rows.append(packed([(lo, hi)], start))
            continue
        common = min(share[lo + 1 : hi])
        if common > start and tokens(lo, hi, start) <= costs.packed_row:
            node.packed_rows.append(packed([(lo, hi)], start))
            continue
        groups = _groups(share, lo, hi, common)
        if common == start:
            waiting += [(a, b, node) for a, b in reversed(groups)]
            continue
        length = common - start
        bins = _bins(groups, [tokens(a, b, common) for a, b in groups], costs.packed_row - length)
        if length * (len(bins) - 1) > costs.call and common <= costs.kept:
            child = Node(parts[lo], start, common, adapter)
            node.children.append(child)
            waiting += [(a, b, child) for a, b in reversed(groups)]
            continue
        for spans in bins:
            if len(spans) > 1:
                node.packed_rows.append(packed(spans, start))
            else:
                waiting.append((*spans[0], node))


def _groups(share: Sequence[int], lo: int, hi: int, common: int) -> list[tuple[int, int]]:
    """Cut where neighbours share no more than `common`."""
    cuts = [lo, *(i for i in range(lo + 1, hi) if share[i] <= common), hi]
    return list(pairwise(cuts))


def _bins(
    groups: Sequence[tuple[int, int]], sizes: Sequence[int], room: int
) -> list[list[tuple[int, int]]]:
    """Neighbouring groups together, as many as fit into `room` tokens."""
    bins: list[list[tuple[int, int]]] = []
    left = -1
    for group, size in zip(groups, sizes, strict=True):
        if size > left:
            bins.append([])
            left = room
        bins[-1].append(group)
        left -= size
    return bins


def shared_length(a: Ids, b: Ids) -> int:
    """How many first tokens two prefixes have in common, the last token of either left out: it is
    computed in a prefix's own row, where its prediction is read."""
    most = min(len(a), len(b)) - 1
    if a[:most] == b[:most]:
        return most
    return bisect_left(range(1, most + 1), True, key=lambda n: a[:n] != b[:n])
