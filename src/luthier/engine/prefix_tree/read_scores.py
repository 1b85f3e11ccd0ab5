"""Reading log-probabilities out of a batch's logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from luthier.engine.prefix_tree.batch_layout import RowLayout

NUMBERS_A_SOFTMAX = 16_000_000  # logits taken to float32 at once
NUMBERS_IN_CACHE = 250_000  # a processor goes over them four times


def read_scores(
    logits: torch.Tensor, layouts: Sequence[RowLayout]
) -> tuple[list[float], list[bool]]:
    """The log-probability of every target of every continuation, and whether it is the arg-max.

    Targets come in the order of rows, trees and continuations. `logits` is (B, keep, V); the right
    edges of rows and logits meet.
    """
    keep, vocabulary = logits.shape[1:]
    places: list[int] = []
    targets: list[int] = []
    for b, row in enumerate(layouts):
        left = (b + 1) * keep - len(row.ids)
        for start, tree, _, _ in row.trees:
            for nodes, predicted in zip(tree.nodes, tree.targets, strict=True):
                places += [left + start + node for node in nodes]
                targets += predicted
    flat = logits.reshape(-1, vocabulary)
    where = torch.tensor(places, device=logits.device)
    what = torch.tensor(targets, device=logits.device)
    at_once = NUMBERS_IN_CACHE if logits.device.type == "cpu" else NUMBERS_A_SOFTMAX
    highest, norms = [], []
    for part in torch.split(flat, max(1, at_once // vocabulary)):
        most = part.amax(-1)
        highest.append(most)
        norms.append((part.float() - most.unsqueeze(-1)).exp_().sum(-1).log_().add_(most))
    values = flat[where, what]
    best = values == torch.cat(highest)[where]
    # Of equal logits greedy decoding takes the first.
    best[best.clone()] &= flat[where[best]].argmax(-1) == what[best]
    return (values.float() - torch.cat(norms)[where]).tolist(), best.tolist()
