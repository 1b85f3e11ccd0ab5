"""Requests for different soft prompts and LoRA adapters of one base in one tree.

The virtual tokens of all of them stand in one table above the vocabulary, each soft prompt with ids
of its own. So what comes before a soft prompt is shared between adaptations of one adapter, what
comes after it is not, and rows of all adaptations fill one batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from luthier.engine.adapters.low_rank import LowRank
from luthier.engine.prefix_tree.run_tree import score_rows
from luthier.engine.session import Session
from luthier.engine.token_rows import TokenRow, rows_by_vote
from luthier.engine.votes import results_of
from luthier.models.adaptation import Adapter
from luthier.models.backend import ScoreRequest, ScoreResult

Asked = tuple[Session, Adapter | None, Sequence[ScoreRequest]]


def score(asked: Sequence[Asked]) -> list[list[ScoreResult]]:
    """Results of each session's requests under its adapter. The sessions are of one decoder, which
    knows trees and has nothing injected; each adapter is one that `low_rank.mixes`."""
    base = asked[0][0]
    numbers: dict[int, int] = {}
    adapters: list[Adapter] = []
    table: list[torch.Tensor] = []
    rows: list[list[TokenRow]] = []
    above = 0  # virtual tokens of the sessions before
    for session, adapter, requests in asked:
        number = 0
        if adapter is not None:
            if id(adapter) not in numbers:
                adapters.append(adapter)
            number = numbers.setdefault(id(adapter), len(adapters))
        for votes in rows_by_vote(session, requests):
            rows.append([_raised(row, session.vocabulary, above, number) for row in votes])
        if session.soft is not None:
            table.append(session.soft.flatten(0, 1))
            above += len(table[-1])
    soft = torch.cat(table).unsqueeze(0) if table else None
    together, beside = replace(base, soft=soft), LowRank(base.module, adapters)
    with beside.injected():
        found = iter(
            results_of(rows, lambda distinct: score_rows(together, distinct, beside.under))
        )
    return [[next(found) for _ in requests] for _, _, requests in asked]


def _raised(row: TokenRow, vocabulary: int, by: int, adapter: int) -> TokenRow:
    prefix = tuple(i + by if i >= vocabulary else i for i in row.prefix) if by else row.prefix
    return replace(row, prefix=prefix, adapter=adapter)
