"""Requests for different soft prompts and LoRA adapters of one base in one tree.

The virtual tokens of all of them stand in one table above the vocabulary, each soft prompt with ids
of its own. So what comes before a soft prompt is shared between adaptations with one adapter, what
comes after it is not, and rows of all adaptations fill one batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch

from luthier.engine.adapters.batched_lora import BatchedLoRA
from luthier.engine.prefix_tree.run_tree import score_rows
from luthier.engine.request_rows import TokenRow, rows_by_vote
from luthier.engine.session import Session
from luthier.engine.votes import results_of
from luthier.models.adaptation import Adapter
from luthier.models.backend import ScoreRequest, ScoreResult


class AdaptedRequests(NamedTuple):
    """Requests with the session and the adapter that they are scored under."""

    session: Session
    adapter: Adapter | None
    requests: Sequence[ScoreRequest]


def score_together(groups: Sequence[AdaptedRequests]) -> list[list[ScoreResult]]:
    """The results of each group.

    The sessions are of one decoder that supports tree masks and has nothing injected; each adapter
    is one that shares batches (`batched_lora.shares_batches`).
    """
    base = groups[0].session
    numbers: dict[int, int] = {}
    adapters: list[Adapter] = []
    table: list[torch.Tensor] = []
    rows: list[list[TokenRow]] = []
    offset = 0  # virtual tokens of the sessions before
    for session, adapter, requests in groups:
        number = 0
        if adapter is not None:
            if id(adapter) not in numbers:
                adapters.append(adapter)
            number = numbers.setdefault(id(adapter), len(adapters))
        for votes in rows_by_vote(session, requests):
            rows.append([_moved(row, session.vocabulary, offset, number) for row in votes])
        if session.soft is not None:
            table.append(session.soft.flatten(0, 1))
            offset += len(table[-1])
    soft = torch.cat(table).unsqueeze(0) if table else None
    together, lora = replace(base, soft=soft), BatchedLoRA(base.module, adapters)
    with lora.injected():
        results = iter(
            results_of(rows, lambda distinct: score_rows(together, distinct, lora.select))
        )
    return [[next(results) for _ in group.requests] for group in groups]


def _moved(row: TokenRow, vocabulary: int, by: int, adapter: int) -> TokenRow:
    """The row with its virtual tokens moved up in the table, under a numbered adapter."""
    prefix = tuple(i + by if i >= vocabulary else i for i in row.prefix) if by else row.prefix
    return replace(row, prefix=prefix, adapter=adapter)
