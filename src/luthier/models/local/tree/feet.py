"""The foot of a trunk: its last token and the tree of its branches.

    trunk … end ─┬─ refund ─┬─ (full)
                 │          └─ (part)
                 └─ (delivery)

Tokens in brackets are predicted and never run. Branches that begin alike share their tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from luthier.models.local.tree.rows import Ids


@dataclass(frozen=True, slots=True)
class Foot:
    """A tree in the order it stands in the row, the trunk's end first.

    Node i has token `ids[i]`, parent `parents[i]` (−1 for the end) and lies `depths[i]` after the
    end. Branch k predicts token `targets[k][j]` at node `places[k][j]`.
    """

    ids: Ids
    parents: Ids
    depths: Ids
    places: tuple[Ids, ...]
    targets: tuple[Ids, ...]


@lru_cache(maxsize=1024)
def foot_of(branches: tuple[Ids, ...], end: int) -> Foot:
    """The tree of these branches under the token `end`."""
    node_of: dict[Ids, int] = {(): 0}
    ids, parents, depths = [end], [-1], [0]
    places = []
    for branch in branches:
        path: list[int] = []
        for j in range(len(branch)):
            node = node_of.get(branch[:j])
            if node is None:
                node = node_of[branch[:j]] = len(ids)
                ids.append(branch[j - 1])
                parents.append(path[-1])
                depths.append(j)
            path.append(node)
        places.append(tuple(path))
    return Foot(tuple(ids), tuple(parents), tuple(depths), tuple(places), branches)


def feet_of(
    branches: tuple[Ids, ...], end: int, most: int
) -> Iterator[tuple[Foot, tuple[int, ...]]]:
    """Feet of at most `most` tokens (one branch at least), each with the branches it holds."""
    if 1 + sum(len(b) - 1 for b in branches) <= most:
        yield foot_of(branches, end), tuple(range(len(branches)))
        return
    held: list[int] = []
    size = 1
    # In the order of their tokens, so that those that begin alike stay together.
    for k in sorted(range(len(branches)), key=lambda k: branches[k]):
        if held and size + len(branches[k]) - 1 > most:
            yield foot_of(tuple(branches[i] for i in held), end), tuple(held)
            held, size = [], 1
        held.append(k)
        size += len(branches[k]) - 1
    yield foot_of(tuple(branches[i] for i in held), end), tuple(held)
