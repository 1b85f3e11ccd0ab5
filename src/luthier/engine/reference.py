"""The slow way: every prompt with every continuation alone, nothing shared, masks by transformers.

It is the reference that the engine is held to, and what `LUTHIER_ENGINE=plain` switches on for
anyone who doubts a number. Bases whose layers support no tree mask are scored like this too.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from luthier.engine.precision import autocast
from luthier.engine.request_rows import Ids, TokenRow, rows_by_vote
from luthier.engine.session import Session
from luthier.engine.votes import result_of
from luthier.models.backend import ScoreRequest, ScoreResult


def score(session: Session, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
    """The summed log-probability of every continuation of every request, one forward pass each."""
    logits_of = _encoder_decoder_logits if session.encoder_decoder else _decoder_logits
    results = []
    with autocast(session.device, session.dtype):
        for request in requests:
            rows = rows_by_vote(session, [request])[0]
            votes, computed = [], 0
            for row in rows:
                each = []
                for continuation in row.continuations:
                    logits = logits_of(session, row, continuation)
                    each.append(_read(logits, continuation))
                    computed += len(row.prefix) + len(continuation)
                votes.append(([value for value, _ in each], [greedy for _, greedy in each]))
            results.append(result_of(votes, rows, computed))
    return results


def _decoder_logits(session: Session, row: TokenRow, continuation: Ids) -> torch.Tensor:
    """(tokens of the continuation, V)."""
    ids = torch.tensor([[*row.prefix, *continuation]], device=session.device)
    cache = session.prefix_cache(1)
    past = session.prefix_length
    logits: torch.Tensor = session.module(
        inputs_embeds=session.embed(ids),
        attention_mask=torch.ones(1, ids.shape[1] + past, device=session.device).long(),
        position_ids=torch.arange(past, past + ids.shape[1], device=ids.device)[None],
        past_key_values=cache,
        use_cache=cache is not None,
    ).logits
    return logits[0, len(row.prefix) - 1 : -1]


def _encoder_decoder_logits(session: Session, row: TokenRow, continuation: Ids) -> torch.Tensor:
    """(tokens of the continuation, V)."""
    ids = torch.tensor([row.prefix], device=session.device)
    labels = torch.tensor([continuation], device=session.device)
    logits: torch.Tensor = session.module(inputs_embeds=session.embed(ids), labels=labels).logits
    return logits[0]


def _read(logits: torch.Tensor, continuation: Ids) -> tuple[float, bool]:
    targets = torch.tensor(continuation, device=logits.device)
    logs = torch.log_softmax(logits.float(), -1)
    total = float(logs.gather(-1, targets.unsqueeze(-1)).sum())
    return total, bool((logits.argmax(-1) == targets).all())
