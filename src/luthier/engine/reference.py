"""The slow way: every prompt with every continuation alone, nothing shared, masks by transformers.

It is the reference that the engine is held to, and what `LUTHIER_ENGINE=plain` switches on for
anyone who doubts a number. It is also the way for bases whose layers know no tree mask.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from luthier.content import Usage
from luthier.engine.precision import autocast
from luthier.engine.session import Session
from luthier.engine.token_rows import rows_by_vote
from luthier.engine.votes import result_of
from luthier.models.backend import ScoreRequest, ScoreResult


def score(session: Session, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
    """Summed log-probabilities of every continuation of every request, one forward pass each."""
    one = _encoded if session.encoder_decoder else _joined
    with autocast(session.device, session.dtype):
        return [one(session, r) for r in requests]


def _joined(session: Session, request: ScoreRequest) -> ScoreResult:
    votes, computed = [], 0
    rows = rows_by_vote(session, [request])[0]
    for row in rows:
        each = []
        for continuation in row.continuations:
            ids = torch.tensor([[*row.prefix, *continuation]], device=session.device)
            cache = session.prefix_cache(1)
            past = session.prefix_length
            logits = session.module(
                inputs_embeds=session.embed(ids),
                attention_mask=torch.ones(1, ids.shape[1] + past, device=session.device).long(),
                position_ids=torch.arange(past, past + ids.shape[1], device=ids.device)[None],
                past_key_values=cache,
                use_cache=cache is not None,
            ).logits[0, len(row.prefix) - 1 : -1]
            each.append(_read(logits, continuation))
            computed += ids.shape[1]
        votes.append(([v for v, _ in each], [g for _, g in each]))
    usage = Usage(sum(len(r.prefix) for r in rows), 0, computed, 1, int(rows[0].truncated))
    return result_of(votes, [len(b) for b in rows[0].continuations], usage)


def _encoded(session: Session, request: ScoreRequest) -> ScoreResult:
    votes, computed = [], 0
    rows = rows_by_vote(session, [request])[0]
    for row in rows:
        ids = torch.tensor([row.prefix], device=session.device)
        each = []
        for continuation in row.continuations:
            labels = torch.tensor([continuation], device=session.device)
            logits = session.module(inputs_embeds=session.embed(ids), labels=labels).logits[0]
            each.append(_read(logits, continuation))
            computed += len(row.prefix) + len(continuation)
        votes.append(([v for v, _ in each], [g for _, g in each]))
    usage = Usage(sum(len(r.prefix) for r in rows), 0, computed, 1, int(rows[0].truncated))
    return result_of(votes, [len(b) for b in rows[0].continuations], usage)


def _read(logits: torch.Tensor, continuation: Sequence[int]) -> tuple[float, bool]:
    targets = torch.tensor(continuation, device=logits.device)
    logs = torch.log_softmax(logits.float(), -1)
    total = float(logs.gather(-1, targets.unsqueeze(-1)).sum())
    return total, bool((logits.argmax(-1) == targets).all())
