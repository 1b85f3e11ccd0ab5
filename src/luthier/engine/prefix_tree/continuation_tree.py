"""The continuation tree of a prefix: its last token and the tree of its continuations.

    prefix … end ─┬─ refund ─┬─ (full)
                 │          └─ (part)
                 └─ (delivery)

Tokens in brackets are predicted and never run. Branches that begin alike share their tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from luthier.engine.token_rows import Ids


@dataclass(frozen=True, slots=True)
class ContinuationTree:
    """A tree in the order it stands in the row, the prefix's end first.

    Node i has token `ids[i]`, parent `parents[i]` (−1 for the end) and lies `depths[i]` after the
    end. Branch k predicts token `targets[k][j]` at node `places[k][j]`.
    """

    ids: Ids
    parents: Ids
    depths: Ids
    places: tuple[Ids, ...]
    targets: tuple[Ids, ...]


@lru_cache(maxsize=1024)
def continuation_tree(continuations: tuple[Ids, ...], end: int) -> ContinuationTree:
    """The tree of these continuations under the token `end`."""
    node_of: dict[Ids, int] = {(): 0}
    ids, parents, depths = [end], [-1], [0]
    places = []
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
        places.append(tuple(path))
    return ContinuationTree(tuple(ids), tuple(parents), tuple(depths), tuple(places), continuations)


def continuation_trees(
    continuations: tuple[Ids, ...], end: int, most: int
) -> Iterator[tuple[ContinuationTree, tuple[int, ...]]]:
    """Trees of at most `most` tokens (one continuation at least), each with the continuations it holds."""
    if 1 + sum(len(b) - 1 for b in continuations) <= most:
        yield continuation_tree(continuations, end), tuple(range(len(continuations)))
        return
    held: list[int] = []
    size = 1
    # In the order of their tokens, so that those that begin alike stay together.
    for k in sorted(range(len(continuations)), key=lambda k: continuations[k]):
        if held and size + len(continuations[k]) - 1 > most:
            yield continuation_tree(tuple(continuations[i] for i in held), end), tuple(held)
            held, size = [], 1
        held.append(k)
        size += len(continuations[k]) - 1
    yield continuation_tree(tuple(continuations[i] for i in held), end), tuple(held)
