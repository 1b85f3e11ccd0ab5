"""The plan: which shared prefixes are computed once and kept, and which rows run together.

Plain data in, plain data out; nothing here knows of tensors. The trunks form a tree of tokens.
It is cut into nodes, whose keys and values are kept while everything below them runs, and packs:
small subtrees that stand in one row of a batch, under a tree mask.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

from luthier.models.local.tree.feet import Foot, feet_of
from luthier.models.local.tree.rows import Ids, Row


@dataclass(frozen=True, slots=True)
class Costs:
    """What the planner weighs, in tokens.

    `call`: a node is worth its own forward pass when it saves more than this. `pack`: the widest
    subtree that stands in one row. `foot`: the most branch tokens of a row, else the branches are
    divided. `kept`: the longest path of kept prefixes that memory allows.
    """

    call: int = 64
    pack: int = 256
    foot: int = 512
    kept: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Work:
    """A trunk with some of its branches; `row` and `branches` say where the answers go."""

    trunk: Ids
    foot: Foot
    row: int
    branches: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Pack:
    """Works that stand in one row. They share at least the tokens of the node they hang on."""

    works: tuple[Work, ...]
    width: int
    adapter: int


@dataclass(slots=True)
class Node:
    """Tokens `start:stop` of `sample`'s trunk, computed once for all packs and nodes below."""

    sample: Work | None
    start: int
    stop: int
    adapter: int = 0
    packs: list[Pack] = field(default_factory=list)
    children: list[Node] = field(default_factory=list)


def plan(rows: Sequence[Row], costs: Costs) -> Node:
    """The tree of nodes, its root empty. Packs of different adapters meet at the root only."""
    root = Node(None, 0, 0)
    by_adapter: dict[int, list[Work]] = {}
    for k, row in enumerate(rows):
        by_adapter.setdefault(row.adapter, []).extend(_works(row, k, costs.foot))
    for adapter, works in by_adapter.items():
        _grow(root, works, adapter, costs)
    return root


def _works(row: Row, k: int, most: int) -> Iterable[Work]:
    for foot, which in feet_of(row.branches, row.trunk[-1], most):
        yield Work(row.trunk, foot, k, which)


def _grow(root: Node, works: list[Work], adapter: int, costs: Costs) -> None:
    works.sort(key=lambda w: w.trunk)
    # share[i]: tokens that work i has in common with the one before it, their ends left out.
    share = [0] + [shared(a.trunk, b.trunk) for a, b in pairwise(works)]
    fresh = [len(w.trunk) + len(w.foot.ids) - 1 - s for w, s in zip(works, share, strict=True)]
    until = [0, *accumulate(fresh)]

    def tokens(lo: int, hi: int, start: int) -> int:
        return until[hi] - until[lo] + share[lo] - start

    def packed(spans: Sequence[tuple[int, int]], start: int) -> Pack:
        members = tuple(works[i] for lo, hi in spans for i in range(lo, hi))
        width = tokens(spans[0][0], spans[0][1], start)
        for (lo, hi), (_, before) in zip(spans[1:], spans, strict=False):
            width += tokens(lo, hi, min(share[before : lo + 1]))
        return Pack(members, width, adapter)

    waiting = [(0, len(works), root)]
    while waiting:
        lo, hi, node = waiting.pop()
        start = node.stop
        if hi - lo == 1:
            node.packs.append(packed([(lo, hi)], start))
            continue
        common = min(share[lo + 1 : hi])
        if common > start and tokens(lo, hi, start) <= costs.pack:
            node.packs.append(packed([(lo, hi)], start))
            continue
        groups = _groups(share, lo, hi, common)
        if common == start:
            waiting += [(a, b, node) for a, b in reversed(groups)]
            continue
        length = common - start
        bins = _bins(groups, [tokens(a, b, common) for a, b in groups], costs.pack - length)
        if length * (len(bins) - 1) > costs.call and common <= costs.kept:
            child = Node(works[lo], start, common, adapter)
            node.children.append(child)
            waiting += [(a, b, child) for a, b in reversed(groups)]
            continue
        for spans in bins:
            if len(spans) > 1:
                node.packs.append(packed(spans, start))
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


def shared(a: Ids, b: Ids) -> int:
    """How many first tokens two trunks have in common, the last token of either left out: it is
    computed in a trunk's own row, where its prediction is read."""
    most = min(len(a), len(b)) - 1
    if a[:most] == b[:most]:
        return most
    return bisect_left(range(1, most + 1), True, key=lambda n: a[:n] != b[:n])
