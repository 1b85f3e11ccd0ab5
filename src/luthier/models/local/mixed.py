"""Requests for different soft prompts of one base in one tree.

The virtual tokens of all of them stand in one table above the vocabulary, each soft prompt with ids
of its own. So what comes before a soft prompt is shared between adaptations, what comes after it is
not, and rows of different adaptations fill one batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from luthier.models.backend import ScoreRequest, ScoreResult
from luthier.models.local import plain_scoring
from luthier.models.local.session import Session
from luthier.models.local.tree.rows import Row, voting_rows
from luthier.models.local.tree.run import score_rows
from luthier.models.local.votes import results_of


def score(asked: Sequence[tuple[Session, Sequence[ScoreRequest]]]) -> list[list[ScoreResult]]:
    """Results of each session's requests. The sessions are of one decoder and differ in their
    soft prompts only."""
    base = asked[0][0]
    if plain_scoring.engine() == "plain" or not plain_scoring.knows_trees(base):
        return [plain_scoring.score(session, requests) for session, requests in asked]
    table: list[torch.Tensor] = []
    rows: list[list[Row]] = []
    above = 0  # virtual tokens of the sessions before
    for session, requests in asked:
        made = voting_rows(session, requests)
        rows += [[_raised(row, session.vocabulary, above) for row in votes] for votes in made]
        if session.soft is not None:
            table.append(session.soft.flatten(0, 1))
            above += len(table[-1])
    soft = torch.cat(table).unsqueeze(0) if table else None
    together = replace(base, soft=soft)
    found = iter(results_of(rows, lambda distinct: score_rows(together, distinct)))
    return [[next(found) for _ in requests] for _, requests in asked]


def _raised(row: Row, vocabulary: int, by: int) -> Row:
    if by == 0:
        return row
    return replace(row, trunk=tuple(i + by if i >= vocabulary else i for i in row.trunk))
