"""Scoring continuations with an encoder–decoder: each distinct prompt is encoded once, and all its
continuations are decoded in one row, a tree that starts at the decoder's first token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from luthier.engine.attention_masks import attention_masks
from luthier.engine.precision import autocast
from luthier.engine.prefix_tree.batch_layout import RowLayout, layout_row, tree_batch
from luthier.engine.prefix_tree.continuation_tree import continuation_tree
from luthier.engine.prefix_tree.memory import Shape, memory_cap, out_of_memory
from luthier.engine.prefix_tree.planner import PackedRow, RowPart
from luthier.engine.prefix_tree.read_scores import read_scores
from luthier.engine.session import Session
from luthier.engine.token_rows import RowScores, TokenRow, rows_by_vote
from luthier.engine.votes import results_of
from luthier.errors import BackendError
from luthier.models.backend import ScoreRequest, ScoreResult

TOKENS_A_BATCH = 4096
RELATIVE = ("t5", "mt5")  # positions are biases in the decoder's attention, so a mask can hold them


def score(session: Session, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
    """Summed log-probabilities of every continuation, end of sequence included."""
    with autocast(session.device, session.dtype):
        return results_of(rows_by_vote(session, requests), partial(_score_rows, session))


def encode_prompts(
    session: Session, prompts: Sequence[Sequence[int]], soft: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded embeddings (B, S, H) and mask (B, S), virtual tokens of every vote in front."""
    rows = [
        session.insert_virtual(p, len(p), vote=v) for p in prompts for v in range(session.votes)
    ]
    return _padded(session, rows, soft)


def _padded(
    session: Session, rows: Sequence[Sequence[int]], soft: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(len(r) for r in rows)
    pad = session.tokenizer.pad_token_id or 0
    ids = torch.tensor([[*r, *[pad] * (longest - len(r))] for r in rows], device=session.device)
    mask = torch.tensor(
        [[1] * len(r) + [0] * (longest - len(r)) for r in rows], device=session.device
    )
    return session.embed(ids, soft), mask


def _score_rows(session: Session, rows: Sequence[TokenRow]) -> list[RowScores]:
    """Distinct prompts in batches of like length, each batch encoded and its trees decoded."""
    shape, cap = Shape.of(session), memory_cap(session.device)
    order = sorted(range(len(rows)), key=lambda k: -len(rows[k].prefix))
    out: dict[int, RowScores] = {}
    while order:
        width = len(rows[order[0]].prefix)
        tail = max(1 + sum(len(b) - 1 for b in rows[k].continuations) for k in order)
        by_memory = cap // (shape.row(width, 0, 0) + shape.row(tail, width, tail))
        size = max(1, min(TOKENS_A_BATCH // max(width, tail), by_memory))
        members, order = order[:size], order[size:]
        out.update(zip(members, _batch(session, [rows[k] for k in members]), strict=True))
    return [out[k] for k in range(len(rows))]


def _batch(session: Session, rows: list[TokenRow]) -> list[RowScores]:
    """One batch, or its halves where memory is short: fewer prompts, then fewer continuations."""
    try:
        embeds, mask = _padded(session, [r.prefix for r in rows])
        encoded = session.module.get_encoder()(inputs_embeds=embeds, attention_mask=mask)
        if session.module.config.model_type in RELATIVE:
            return _decode_trees(session, rows, encoded, mask)
        return _decode_apart(session, rows, encoded, mask)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        if len(rows) == 1 and len(rows[0].continuations) == 1:
            raise BackendError(
                f"A prompt of {len(rows[0].prefix)} tokens does not fit in memory",
                next_step="Close other programs, or use a smaller base or shorter inputs.",
            ) from error
    if len(rows) > 1:
        middle = len(rows) // 2
        return _batch(session, rows[:middle]) + _batch(session, rows[middle:])
    middle = len(rows[0].continuations) // 2
    a, b = (
        _batch(session, [replace(rows[0], continuations=part)])[0]
        for part in (rows[0].continuations[:middle], rows[0].continuations[middle:])
    )
    return [RowScores(a.logprobs + b.logprobs, a.greedy + b.greedy, a.computed + b.computed)]


def _decode_trees(
    session: Session, rows: Sequence[TokenRow], encoded: Any, mask: torch.Tensor
) -> list[RowScores]:
    start = int(session.module.config.decoder_start_token_id)
    layouts: list[RowLayout] = []
    for k, row in enumerate(rows):
        tree = continuation_tree(row.continuations, start)
        part = RowPart((start,), tree, k, tuple(range(len(row.continuations))))
        layouts.append(layout_row(PackedRow((part,), len(tree.ids), 0), 0))
    batch = tree_batch(layouts, 0, session.tokenizer.pad_token_id or 0)
    positions = batch.positions.to(session.device)
    seen = attention_masks(session, batch.visible.to(session.device), positions, positions)
    logits = session.module(
        encoder_outputs=encoded,
        attention_mask=mask,
        decoder_input_ids=batch.ids.to(session.device),
        decoder_attention_mask=seen + _position_bias(session, positions),
        use_cache=False,
    ).logits[:, -batch.keep :]
    values, best = read_scores(logits, layouts)
    out, at = [], 0
    for row, place in zip(rows, layouts, strict=True):
        scored = RowScores([], [], len(row.prefix) + len(place.ids))
        for continuation in row.continuations:
            scored.logprobs.append(sum(values[at : at + len(continuation)]))
            scored.greedy.append(all(best[at : at + len(continuation)]))
            at += len(continuation)
        out.append(scored)
    return out


def _position_bias(session: Session, positions: torch.Tensor) -> torch.Tensor:
    """What to add to the decoder's attention (B, heads, W, W), so that its biases go by `positions`
    (B, W) and no longer by places in the row (Raffel et al. 2020, arXiv:1910.10683, section
    2.1)."""
    first: Any = session.module.get_decoder().block[0].layer[0].SelfAttention
    width = positions.shape[1]
    bucket = first._relative_position_bucket(
        positions.unsqueeze(1) - positions.unsqueeze(2),
        bidirectional=False,
        num_buckets=first.relative_attention_num_buckets,
        max_distance=first.relative_attention_max_distance,
    )
    wanted = first.relative_attention_bias(bucket).permute(0, 3, 1, 2)
    placed: torch.Tensor = first.compute_bias(width, width, device=positions.device)
    difference: torch.Tensor = wanted - placed
    return difference


def _decode_apart(
    session: Session, rows: Sequence[TokenRow], encoded: Any, mask: torch.Tensor
) -> list[RowScores]:
    """For decoders that count places: every continuation in a row of its own, prompts still
    encoded once."""
    hidden, out = encoded.last_hidden_state, []
    for k, row in enumerate(rows):
        longest, many = max(len(b) for b in row.continuations), len(row.continuations)
        labels = torch.tensor(
            [[*b, *[-100] * (longest - len(b))] for b in row.continuations], device=session.device
        )
        logits = session.module(
            encoder_outputs=type(encoded)(last_hidden_state=hidden[k : k + 1].expand(many, -1, -1)),
            attention_mask=mask[k : k + 1].expand(many, -1),
            labels=labels,
            use_cache=False,
        ).logits.float()
        counted = labels != -100
        each = torch.log_softmax(logits, -1).gather(-1, labels.clamp(min=0).unsqueeze(-1))
        total = (each.squeeze(-1) * counted).sum(-1)
        greedy = ((logits.argmax(-1) == labels) | ~counted).all(-1)
        tokens = len(row.prefix) + int(counted.sum())
        out.append(RowScores(total.tolist(), greedy.tolist(), tokens))
    return out
