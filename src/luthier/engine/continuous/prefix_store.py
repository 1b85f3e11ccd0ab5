"""The keys and values of what was read, as a tree of token ids that lives on between requests.

A node holds the tokens between two branchings and their keys and values. Rows that begin alike walk
down one path, so that a token is computed once, over time too. Where the cap on memory is reached,
leaves go that were used least recently.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from luthier.engine.memory import give_back
from luthier.engine.prefix_tree.shared_cache import KeyValues

GIVE_BACK_SECONDS = 10.0  # at most so often, for it takes a tenth of a second


@dataclass(slots=True, eq=False)
class StoredPrefix:
    """A node: `ids` and their keys and values, (1, heads, tokens, width) of each layer."""

    ids: tuple[int, ...]
    values: KeyValues
    parent: StoredPrefix | None
    children: dict[int, StoredPrefix] = field(default_factory=dict)
    used: int = 0

    @property
    def tokens(self) -> int:
        """Keys in this node; a root may have some without ids (those of a prefix adapter)."""
        return int(next(iter(self.values.values()))[0].shape[2]) if self.values else 0

    @property
    def bytes(self) -> int:
        """Memory of its keys and values."""
        tensors = itertools.chain.from_iterable(self.values.values())
        return sum(t.numel() * t.element_size() for t in tensors)

    def path(self) -> list[StoredPrefix]:
        """The nodes from the root to this one."""
        nodes: list[StoredPrefix] = []
        node: StoredPrefix | None = self
        while node is not None:
            nodes.append(node)
            node = node.parent
        return nodes[::-1]


class PrefixStore:
    """`cap` is the most bytes that are kept; `bytes` how many there are."""

    def __init__(self, cap: int) -> None:
        self.cap, self.bytes = cap, 0
        self._given_back = 0.0
        self.hits = self.misses = 0  # tokens that were found, and tokens that were not
        self._roots: dict[Hashable, StoredPrefix] = {}
        self._clock = itertools.count(1)

    def root(self, key: Hashable, start: KeyValues) -> StoredPrefix:
        """The node that the rows of one adapter begin with; `start` is what comes before them."""
        if key not in self._roots:
            self._roots[key] = StoredPrefix((), start, None)
        return self._roots[key]

    def find(self, root: StoredPrefix, ids: Sequence[int]) -> tuple[StoredPrefix, int]:
        """The deepest node whose tokens the ids begin with, and how many of them it covers. A node
        of which they share a part is divided there."""
        node, at, now = root, 0, next(self._clock)
        node.used = now
        while at < len(ids):
            child = node.children.get(ids[at])
            if child is None:
                break
            shared = _common(child.ids, ids, at)
            if shared < len(child.ids):
                child = self._divided(child, shared)
            node, at = child, at + shared
            node.used = now
        return node, at

    def add(self, parent: StoredPrefix, ids: Sequence[int], values: KeyValues) -> StoredPrefix:
        """Keep what was computed for ids that follow a node."""
        if not ids:
            return parent
        known = parent.children.get(ids[0])
        if known is not None and known.ids == tuple(ids):
            return known
        if known is not None:  # a row beside this one was kept first
            return parent
        node = StoredPrefix(tuple(ids), values, parent, used=next(self._clock))
        parent.children[ids[0]] = node
        self.bytes += node.bytes
        return node

    def shrink(self) -> None:
        """Let go of leaves until the cap is kept; call it when no row is under way."""
        if self.bytes <= self.cap:
            return
        self._let_go()
        if time.monotonic() - self._given_back > GIVE_BACK_SECONDS:
            give_back()
            self._given_back = time.monotonic()

    def _let_go(self) -> None:
        while self.bytes > self.cap:
            leaves = [n for root in self._roots.values() for n in _leaves(root) if n.parent]
            if not leaves:
                return
            for leaf in sorted(leaves, key=lambda n: n.used):
                self._remove(leaf)
                if self.bytes <= self.cap * 0.8:  # with some room, so that it is not every call
                    return

    def forget(self) -> None:
        """Let go of everything."""
        self._roots, self.bytes = {}, 0

    def _remove(self, leaf: StoredPrefix) -> None:
        assert leaf.parent is not None
        del leaf.parent.children[leaf.ids[0]]
        self.bytes -= leaf.bytes

    def _divided(self, node: StoredPrefix, at: int) -> StoredPrefix:
        """Put a node of its first tokens above the rest, and return that one."""
        parent = node.parent
        assert parent is not None
        upper = StoredPrefix(node.ids[:at], cut(node.values, 0, at), parent, used=node.used)
        parent.children[upper.ids[0]] = upper
        node.values = cut(node.values, at, node.tokens)
        node.ids, node.parent = node.ids[at:], upper
        upper.children[node.ids[0]] = node
        return upper


def cut(values: KeyValues, start: int, end: int) -> KeyValues:
    """A stretch of keys and values, as tensors of their own: a view would hold all of them."""
    return {
        k: (a[:, :, start:end].clone(), b[:, :, start:end].clone()) for k, (a, b) in values.items()
    }


def _common(first: Sequence[int], second: Sequence[int], at: int) -> int:
    """How many tokens `first` shares with `second` from the place `at` on."""
    most = min(len(first), len(second) - at)
    return next((i for i in range(most) if first[i] != second[at + i]), most)


def _leaves(node: StoredPrefix) -> list[StoredPrefix]:
    if not node.children:
        return [node]
    return [leaf for child in node.children.values() for leaf in _leaves(child)]
