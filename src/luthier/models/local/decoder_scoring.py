"""Scoring continuations with a decoder-only model, paying for shared tokens once.

A request is a trunk (the prompt) with branches (the continuations). The tokens that all trunks of
a call share run once and their keys and values are reused; all branches of a request stand in one
row,

    [pad …] trunk  branch 1  branch 2  …

where a branch token sees the trunk and its own branch only (a tree mask) and has the position it
would have right after the trunk. The first token of a branch is predicted at the trunk's end, so a
branch of n tokens adds n − 1. Equal to scoring every joined text alone up to rounding; a test
holds it to that.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from luthier.models.backend import ScoreRequest, ScoreResult
from luthier.models.local.session import Session
from luthier.records import Usage

SHARED_AT_LEAST = 16  # shorter shared prefixes cost more to expand than to compute again
TOKENS_A_BATCH = 6144  # activations of a CPU batch stay in tens of megabytes
LOGITS_A_BATCH = 48_000_000  # elements: 192 MB of float32


@dataclass(frozen=True, slots=True)
class Row:
    """A trunk and its branches, as ids. `truncated` says that the trunk was cut to fit."""

    trunk: list[int]
    branches: list[list[int]]
    truncated: bool = False

    @property
    def tail(self) -> int:
        """Branch tokens that stand in the row."""
        return sum(len(b) - 1 for b in self.branches)


def score(session: Session, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
    """Summed log-probabilities of every continuation of every request."""
    votes = 1 if session.soft is None else int(session.soft.shape[0])
    rows = [
        replace(row, trunk=session.insert_virtual(row.trunk, len(row.trunk), vote=v))
        for row in rows_of(session, requests)
        for v in range(votes)
    ]
    scored, computed = score_rows(session, rows)
    results = []
    for i, request in enumerate(requests):
        mine = range(i * votes, (i + 1) * votes)
        # Votes are averaged as probabilities: log mean exp.
        logprobs = torch.logsumexp(torch.stack([scored[k][0] for k in mine]), 0)
        logprobs = logprobs - torch.log(torch.tensor(float(votes)))
        greedy = torch.stack([scored[k][1].float() for k in mine]).mean(0) > 0.5
        usage = Usage(
            prompt_tokens=sum(len(rows[k].trunk) for k in mine),
            computed_tokens=sum(computed[k] for k in mine),
            calls=1,
            truncated=int(rows[mine[0]].truncated),
        )
        results.append(
            ScoreResult(
                logprobs=tuple(float(x) for x in logprobs),
                tokens=tuple(len(b) for b in rows[mine[0]].branches),
                greedy=tuple(bool(x) for x in greedy),
                usage=usage,
            )
        )
        assert len(request.continuations) == len(results[-1].logprobs)
    return results


def rows_of(session: Session, requests: Sequence[ScoreRequest]) -> list[Row]:
    """Tokenise. Continuations are tokenised joined to their prompt; where that leaves the prompt's
    own tokens alone, the result is kept for prompts that end alike."""
    known: dict[tuple[str, str], list[int]] = {}
    limit = session.context_length
    room = 0 if session.soft is None else int(session.soft.shape[1])
    rows = []
    for request in requests:
        text = session.text(request.prompt)
        trunk = session.encode(request.prompt)
        ending = text[-24:].rsplit("\n", 1)[-1]
        branches = []
        for continuation in request.continuations:
            branch = known.get((ending, continuation))
            if branch is None:
                joined, start = session.encode_pair(request.prompt, continuation)
                branch = joined[start:]
                if start == len(trunk):
                    known[ending, continuation] = branch
                else:
                    trunk = trunk[:start]
            branches.append(branch)
        longest = max((len(b) for b in branches), default=1)
        truncated = limit is not None and len(trunk) + longest + room > limit
        if truncated and limit is not None:
            keep = max(2, limit - longest - room)
            trunk = [trunk[0], *trunk[-(keep - 1) :]]
        rows.append(Row(trunk, branches, truncated))
    return rows


def score_rows(
    session: Session, rows: Sequence[Row]
) -> tuple[list[tuple[torch.Tensor, torch.Tensor]], list[int]]:
    """For each row (log-probability, greedy) per branch, and the tokens computed for it."""
    cache, shared = _shared_prefix(session, rows)
    order = sorted(range(len(rows)), key=lambda i: -(len(rows[i].trunk) + rows[i].tail))
    out: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    computed = [len(r.trunk) - shared + r.tail for r in rows]
    if computed:
        computed[0] += shared
    at = 0
    while at < len(order):
        size = _batch_size(session, [rows[i] for i in order[at:]], shared)
        members = order[at : at + size]
        results = _score_batch(session, [rows[i] for i in members], cache, shared)
        out.update(zip(members, results, strict=True))
        at += size
    return [out[i] for i in range(len(rows))], computed


def _batch_size(session: Session, rows: Sequence[Row], shared: int) -> int:
    width = max(1, len(rows[0].trunk) - shared + rows[0].tail)
    tail = max(r.tail for r in rows[:256]) + 1
    by_logits = LOGITS_A_BATCH // (tail * session.vocabulary)
    by_mask = 64_000_000 // (width * (width + shared))
    return max(1, min(len(rows), TOKENS_A_BATCH // width, by_logits, by_mask))


def _shared_prefix(session: Session, rows: Sequence[Row]) -> tuple[Any, int]:
    """A cache of batch 1 over what all trunks share, and how many tokens that is."""
    cache = session.prefix_cache(1)
    if len(rows) < 2:
        return cache, 0
    shortest = min(len(r.trunk) for r in rows)
    first, shared = rows[0].trunk, 0
    while shared < shortest - 1 and all(r.trunk[shared] == first[shared] for r in rows):
        shared += 1
    if shared < SHARED_AT_LEAST:
        return cache, 0
    prefix = Row(first[:shared], [[0]])
    cache = run(session, [prefix], cache, 0, keep=1)[1]
    return cache, shared


def run(
    session: Session, rows: Sequence[Row], cache: Any, shared: int, *, keep: int
) -> tuple[torch.Tensor, Any]:
    """Forward: logits (B, keep, V) at the last `keep` places of each row, and the cache.

    `cache` (batch 1) holds a prefix adapter's keys and values and then `shared` tokens.
    """
    from transformers import DynamicCache

    batch, device = len(rows), session.device
    head = max(len(r.trunk) for r in rows) - shared
    tail = max(r.tail for r in rows)
    width, past = head + tail, 0
    if cache is None:
        cache = DynamicCache()
    else:
        cache = copy.deepcopy(cache)
        past = int(cache.get_seq_length())
        if batch > 1:
            cache.batch_repeat_interleave(batch)
    pad = session.tokenizer.pad_token_id or 0
    ids = torch.full((batch, width), pad, dtype=torch.long)
    positions = torch.zeros((batch, width), dtype=torch.long)
    visible = torch.zeros((batch, width, past + width), dtype=torch.bool)
    for b, row in enumerate(rows):
        own = row.trunk[shared:]
        start = head - len(own)
        ids[b, start:head] = torch.tensor(own, dtype=torch.long)
        positions[b, start:head] = torch.arange(past, past + len(own))
        visible[b, start:, :past] = True
        visible[b, start:head, past + start : past + head] = torch.ones(
            len(own), len(own), dtype=torch.bool
        ).tril()
        at = head
        for branch in row.branches:
            n = len(branch) - 1
            if n == 0:
                continue
            ids[b, at : at + n] = torch.tensor(branch[:-1], dtype=torch.long)
            positions[b, at : at + n] = torch.arange(past + len(own), past + len(own) + n)
            visible[b, at : at + n, past + start : past + head] = True
            visible[b, at : at + n, past + at : past + at + n] = torch.ones(
                n, n, dtype=torch.bool
            ).tril()
            at += n
    mask = masks(session, visible.to(device), positions.to(device), past)
    out = session.module(
        inputs_embeds=session.embed(ids.to(device)),
        attention_mask=mask,
        position_ids=positions.to(device),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=keep,
    )
    return out.logits, out.past_key_values


def masks(session: Session, visible: torch.Tensor, positions: torch.Tensor, past: int) -> Any:
    """The additive (B, 1, Q, K) mask, or one for each kind of layer where some layers slide.

    A sliding layer sees tokens less than `sliding_window` positions back. Tokens in the cache lie
    at positions 0 … past − 1.
    """
    config = session.module.config.get_text_config()
    lowest = torch.finfo(session.dtype).min

    def additive(seen: torch.Tensor) -> torch.Tensor:
        mask = torch.zeros(seen.shape, dtype=session.dtype, device=seen.device)
        return mask.masked_fill(~seen, lowest).unsqueeze(1)

    full = additive(visible)
    window: int = getattr(config, "sliding_window", None) or 0
    kinds = getattr(config, "layer_types", None)
    slides = window and (kinds is None or "sliding_attention" in kinds)
    if not slides or getattr(config, "use_sliding_window", True) is False:
        return full
    cached = torch.arange(past, device=positions.device).expand(positions.shape[0], past)
    keys = torch.cat([cached, positions], dim=1)
    near = positions.unsqueeze(2) - keys.unsqueeze(1) < window
    sliding = additive(visible & near)
    if kinds is None:
        return sliding
    return {"full_attention": full, "sliding_attention": sliding}


def _score_batch(
    session: Session, rows: Sequence[Row], cache: Any, shared: int
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    tail = max(r.tail for r in rows)
    logits = run(session, rows, cache, shared, keep=tail + 1)[0].float()
    norm = torch.logsumexp(logits, -1)
    best = logits.argmax(-1)
    results = []
    for b, row in enumerate(rows):
        places, targets, owner = [], [], []
        at = 1  # place 0 is the end of the trunk
        for k, branch in enumerate(row.branches):
            places += [0, *range(at, at + len(branch) - 1)]
            targets += branch
            owner += [k] * len(branch)
            at += len(branch) - 1
        where = torch.tensor(places, device=logits.device)
        what = torch.tensor(targets, device=logits.device)
        whose = torch.tensor(owner, device=logits.device)
        each = logits[b, where, what] - norm[b, where]
        total = torch.zeros(len(row.branches), device=logits.device).index_add_(0, whose, each)
        misses = torch.zeros_like(total).index_add_(0, whose, (best[b, where] != what).float())
        results.append((total.cpu(), (misses == 0).cpu()))
    return results
