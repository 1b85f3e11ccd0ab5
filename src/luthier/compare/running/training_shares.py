"""Learning curves: the same technique on nested shares of the training examples."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luthier.records import Example
    from luthier.task.task import Task


def training_share(task: Task, fraction: float) -> Task:
    """The task with a share of its training examples.

    A larger share holds every smaller one, and each label keeps its proportion and at least one
    example. Dev and test stay as they are.
    """
    order = nested_order(task.train, bool(task.labels))
    fewest = len({e.target for e in task.train}) if task.labels else 1
    count = max(fewest, round(fraction * len(order)))
    chosen = set(order[:count])
    return replace(task, train=tuple(e for i, e in enumerate(task.train) if i in chosen))


def nested_order(examples: tuple[Example, ...], labelled: bool) -> list[int]:
    """The order of `examples`, as indices, in which every beginning of the list is a fair sample.

    One example of each label comes first. The others are ordered by their rank within their label,
    as a share of that label. Ranks come from a hash of the example's id. `labelled` False ignores
    the targets.
    """
    by_label: dict[str, list[int]] = defaultdict(list)
    for index, example in enumerate(examples):
        by_label[example.target if labelled else ""].append(index)
    placed: list[tuple[bool, float, str, int]] = []
    for indices in by_label.values():
        ranked = sorted(indices, key=lambda i: _hash(examples[i].id))
        for rank, index in enumerate(ranked):
            share = (rank + 0.5) / len(ranked)
            placed.append((rank > 0, share, _hash(examples[index].id), index))
    return [index for *_, index in sorted(placed)]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
