"""Scoring continuations with an encoder–decoder: each distinct prompt is encoded once, and all its
continuations are decoded in one row, a tree that starts at the decoder's first token.

A decoder counts the places of a row, and a token of a tree stands at another place than its
position. T5's positions are biases in the attention, so that the mask can hold the difference; for
BART's, which are added to the embeddings, the embeddings hold it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from luthier.engine.masks import attention_masks
from luthier.engine.memory import ModelShape, memory_cap, run_in_halves
from luthier.engine.precision import autocast
from luthier.engine.prefix_tree.batch_layout import RowLayout, packed_batch, row_layout
from luthier.engine.prefix_tree.continuation_tree import continuation_tree
from luthier.engine.prefix_tree.planner import PackedRow, Segment
from luthier.engine.prefix_tree.read_scores import read_scores
from luthier.engine.request_rows import RowScores, TokenRow
from luthier.engine.session import Session

TOKENS_A_BATCH = 4096
RELATIVE = ("t5", "mt5")  # positions are biases in the decoder's attention
LEARNED = ("bart", "mbart")  # positions are rows that are added to the embeddings


def score_encoded_rows(session: Session, rows: Sequence[TokenRow]) -> list[RowScores]:
    """The scores of distinct rows, in their order; the end of the sequence counts.

    Prompts of like length are encoded together, and then their trees are decoded together.
    """
    shape, cap = ModelShape.of(session), memory_cap(session.device)
    waiting = sorted(range(len(rows)), key=lambda k: -len(rows[k].prefix))
    scores = [RowScores([], [], 0) for _ in rows]
    with autocast(session.device, session.dtype):
        while waiting:
            width = len(rows[waiting[0]].prefix)
            tail = max(1 + sum(len(c) - 1 for c in rows[k].continuations) for k in waiting)
            row_bytes = shape.row_bytes(width, 0, 0) + shape.row_bytes(tail, width, tail)
            size = max(1, min(TOKENS_A_BATCH // max(width, tail), cap // row_bytes))
            members, waiting = waiting[:size], waiting[size:]
            found = run_in_halves(
                lambda batch: _score_batch(session, batch),
                [(k, rows[k]) for k in members],
                _halves,
                describe=lambda batch: f"A prompt of {len(batch[0][1].prefix)} tokens",
            )
            for k, part in (pair for pairs in found for pair in pairs):
                scores[k] = RowScores(
                    scores[k].logprobs + part.logprobs,
                    scores[k].greedy + part.greedy,
                    scores[k].computed + part.computed,
                )
    return scores


Batch = list[tuple[int, TokenRow]]  # rows with their numbers


def _halves(batch: Batch) -> list[Batch] | None:
    """Fewer prompts, or else fewer continuations of the one prompt."""
    if len(batch) > 1:
        middle = len(batch) // 2
        return [batch[:middle], batch[middle:]]
    number, row = batch[0]
    middle = len(row.continuations) // 2
    if not middle:
        return None
    return [
        [(number, replace(row, continuations=part))]
        for part in (row.continuations[:middle], row.continuations[middle:])
    ]


def _score_batch(session: Session, batch: Batch) -> list[tuple[int, RowScores]]:
    rows = [row for _, row in batch]
    device, pad = session.device, session.tokenizer.pad_token_id or 0
    longest = max(len(r.prefix) for r in rows)
    ids = torch.tensor([[*r.prefix, *[pad] * (longest - len(r.prefix))] for r in rows])
    lengths = torch.tensor([[len(r.prefix)] for r in rows])
    mask = (torch.arange(longest) < lengths).long().to(device)
    embeds = session.embed(ids.to(device))
    encoded = session.module.get_encoder()(inputs_embeds=embeds, attention_mask=mask)
    decode = _decode_trees if _holds_trees(session, rows) else _decode_apart
    scores = decode(session, rows, encoded, mask)
    return list(zip((number for number, _ in batch), scores, strict=True))


def _holds_trees(session: Session, rows: Sequence[TokenRow]) -> bool:
    """Whether all continuations of a row can stand in one row of the decoder."""
    config = session.module.config
    if config.model_type in RELATIVE:
        return True
    longest = max(1 + sum(len(c) - 1 for c in row.continuations) for row in rows)
    return config.model_type in LEARNED and longest <= int(config.max_position_embeddings)


def _decode_trees(
    session: Session, rows: Sequence[TokenRow], encoded: Any, mask: torch.Tensor
) -> list[RowScores]:
    """All continuations of a prompt in one row."""
    start = int(session.module.config.decoder_start_token_id)
    layouts: list[RowLayout] = []
    for k, row in enumerate(rows):
        tree = continuation_tree(row.continuations, start)
        segment = Segment((start,), tree, k, tuple(range(len(row.continuations))))
        layouts.append(row_layout(PackedRow((segment,), len(tree.ids), 0), 0))
    batch = packed_batch(layouts, 0, session.tokenizer.pad_token_id or 0)
    positions = batch.positions.to(session.device)
    visible = batch.visible.to(session.device)
    masks = attention_masks(session, visible, positions, positions)
    ids: dict[str, torch.Tensor] = {"decoder_input_ids": batch.ids.to(session.device)}
    if session.module.config.model_type in RELATIVE:
        masks = masks + _position_bias(session, positions)
    else:
        ids = {"decoder_inputs_embeds": _moved(session, ids["decoder_input_ids"], positions)}
    logits = session.module(
        encoder_outputs=encoded,
        attention_mask=mask,
        **ids,
        decoder_attention_mask=masks,
        use_cache=False,
    ).logits[:, -batch.keep :]
    values, best = read_scores(logits, layouts)
    out, at = [], 0
    for row, layout in zip(rows, layouts, strict=True):
        scored = RowScores([], [], len(row.prefix) + len(layout.ids))
        for continuation in row.continuations:
            scored.logprobs.append(sum(values[at : at + len(continuation)]))
            scored.greedy.append(all(best[at : at + len(continuation)]))
            at += len(continuation)
        out.append(scored)
    return out


def _position_bias(session: Session, positions: torch.Tensor) -> torch.Tensor:
    """What to add to the decoder's attention (B, heads, W, W), so that its biases go by `positions`
    (B, W) and not by places in the row (Raffel et al. 2020, arXiv:1910.10683, section 2.1)."""
    first: Any = session.module.get_decoder().block[0].layer[0].SelfAttention
    width = positions.shape[1]
    bucket = first._relative_position_bucket(
        positions.unsqueeze(1) - positions.unsqueeze(2),
        bidirectional=False,
        num_buckets=first.relative_attention_num_buckets,
        max_distance=first.relative_attention_max_distance,
    )
    by_position = first.relative_attention_bias(bucket).permute(0, 3, 1, 2)
    by_place: torch.Tensor = first.compute_bias(width, width, device=positions.device)
    difference: torch.Tensor = by_position - by_place
    return difference


def _moved(session: Session, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """The decoder's embeddings (B, W, H) of ids (B, W), such that with the rows of their places
    added they have those of `positions`."""
    decoder: Any = session.module.get_decoder()
    table = decoder.embed_positions
    places = torch.arange(ids.shape[1], device=ids.device)
    embeds: torch.Tensor = decoder.embed_tokens(ids)
    of_position = table.weight[positions + table.offset]
    of_place = table.weight[places + table.offset]
    moved: torch.Tensor = embeds + (of_position - of_place).to(embeds.dtype)
    return moved


def _decode_apart(
    session: Session, rows: Sequence[TokenRow], encoded: Any, mask: torch.Tensor
) -> list[RowScores]:
    """For decoders that count places: every continuation in a row of its own, while prompts are
    still encoded once."""
    hidden, out = encoded.last_hidden_state, []
    for k, row in enumerate(rows):
        longest, count = max(len(c) for c in row.continuations), len(row.continuations)
        labels = torch.tensor(
            [[*c, *[-100] * (longest - len(c))] for c in row.continuations], device=session.device
        )
        encoder_outputs = type(encoded)(last_hidden_state=hidden[k : k + 1].expand(count, -1, -1))
        logits = session.module(
            encoder_outputs=encoder_outputs,
            attention_mask=mask[k : k + 1].expand(count, -1),
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
