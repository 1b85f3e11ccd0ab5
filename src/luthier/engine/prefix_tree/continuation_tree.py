"""The continuation tree of a prefix: its last token and the tokens of its continuations.

    prefix … end ─┬─ refund ─┬─ (full)
                  │          └─ (part)
                  └─ (delivery)

The tokens in brackets are predicted and never run. Continuations that begin alike share their
first tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from luthier.engine.request_rows import Ids


@dataclass(frozen=True, slots=True)
class ContinuationTree:
    """A tree in the order in which it stands in a row, the end of the prefix first.

    Node i has the token `ids[i]`, the parent `parents[i]` (−1 for the end of the prefix) and lies
    `depths[i]` tokens after that end. Continuation k predicts its token `targets[k][j]` at node
    `nodes[k][j]`.
    """

    ids: Ids
    parents: Ids
    depths: Ids
    nodes: tuple[Ids, ...]
    targets: tuple[Ids, ...]


@lru_cache(maxsize=1024)
def continuation_tree(continuations: tuple[Ids, ...], end: int) -> ContinuationTree:
    """The tree of these continuations under the token `end`."""
    node_of: dict[Ids, int] = {(): 0}
    ids, parents, depths = [end], [-1], [0]
    nodes = []
    for continuation in continuations:
        path: list[int] = []
        for j in range(len(continuation)):
            node = node_of.get(continuation[:j])
            if node is None:
                node = node_of[continuation[:j]] = len(ids)
                ids.append(continuation[j - 1])
                parents.append(path[-1])
                depths.append(j)
            path.append(node)
        nodes.append(tuple(path))
    return ContinuationTree(tuple(ids), tuple(parents), tuple(depths), tuple(nodes), continuations)


def continuation_trees(
    continuations: tuple[Ids, ...], end: int, most: int
) -> Iterator[tuple[ContinuationTree, tuple[int, ...]]]:
    """Trees of at most `most` tokens, or of a single continuation where that one is longer.

    With each tree come the numbers of its continuations.
    """
    if 1 + sum(len(c) - 1 for c in continuations) <= most:
        yield continuation_tree(continuations, end), tuple(range(len(continuations)))
        return
    chosen: list[int] = []
    size = 1
    # In the order of their tokens, so that those that begin alike stay together.
    for k in sorted(range(len(continuations)), key=lambda k: continuations[k]):
        if chosen and size + len(continuations[k]) - 1 > most:
            yield continuation_tree(tuple(continuations[i] for i in chosen), end), tuple(chosen)
            chosen, size = [], 1
        chosen.append(k)
        size += len(continuations[k]) - 1
    yield continuation_tree(tuple(continuations[i] for i in chosen), end), tuple(chosen)
