"""Several answers after one prompt in one row: the prompt is computed once, forward and backward.

A row is [prompt | answer 1 | answer 2 | …]. Every answer sees the prompt and itself, and stands at
the positions that follow the prompt, so that the log-probabilities are those of rows of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from luthier.engine import Session, attention_masks, uses_prefix_trees
from luthier.training.rows import TrainRow, answer_logprobs, batch_of


@dataclass(frozen=True, slots=True)
class SharedBatch:
    """B rows of T tokens, padded on the left, with J answers each.

    `ids`, `positions` (B, T); `seen` (B, T, T): what each token attends to. `row`, `predictor` and
    `target` (N,) say for each answer token where it is predicted, and which token it is; `answer`
    (N,) which of the B·J answers it belongs to. `ends` (B, J): where each answer ends.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    seen: torch.Tensor
    row: torch.Tensor
    predictor: torch.Tensor
    target: torch.Tensor
    answer: torch.Tensor
    ends: torch.Tensor
    answers_per_row: int


def shares_prompts(session: Session) -> bool:
    """Whether rows of this session can hold several answers: a decoder that takes masks and
    positions, without keys and values of an adapter before every row."""
    return uses_prefix_trees(session) and session.prefix_length == 0


def row_logprobs(
    session: Session, rows: Sequence[TrainRow], soft: torch.Tensor | None = None
) -> torch.Tensor:
    """(B, J) natural log-probabilities of the rows' answers, with gradients."""
    if len(rows[0].answers) < 2 or not shares_prompts(session):
        return answer_logprobs(session, batch_of(session, rows), soft)
    batch = shared_batch(session, rows)
    logprobs = token_logprobs(session, batch, soft)
    total = torch.zeros(len(rows) * batch.answers_per_row, device=logprobs.device)
    return total.index_add(0, batch.answer, logprobs).view(len(rows), -1)


def token_logprobs(
    session: Session, batch: SharedBatch, soft: torch.Tensor | None = None
) -> torch.Tensor:
    """(N,) natural log-probabilities of all answer tokens; the head runs on the answers only."""
    width = batch.ids.shape[1]
    keep = width - int(batch.predictor.min()) if len(batch.predictor) else 1
    out = session.module(
        inputs_embeds=session.embed(batch.ids, soft),
        attention_mask=attention_masks(session, batch.seen, batch.positions, batch.positions),
        position_ids=batch.positions,
        logits_to_keep=keep,
        use_cache=False,
    )
    logits = out.logits[batch.row, batch.predictor - (width - keep)]
    losses = torch.nn.functional.cross_entropy(logits.float(), batch.target, reduction="none")
    return -losses


def shared_batch(session: Session, rows: Sequence[TrainRow]) -> SharedBatch:
    """The rows with the session's virtual tokens in their prompts, as one batch."""
    prompts = [session.insert_virtual(row.prompt, row.start) for row in rows]
    width = max(len(p) + sum(map(len, r.answers)) for p, r in zip(prompts, rows, strict=True))
    pad = session.tokenizer.pad_token_id or 0
    ids = torch.full((len(rows), width), pad)
    positions = torch.zeros((len(rows), width), dtype=torch.long)
    # 0: padding; 1: the prompt; 2, 3, …: the answers.
    segment = torch.zeros((len(rows), width), dtype=torch.long)
    cells: list[tuple[int, int, int, int]] = []
    ends: list[list[int]] = []
    for b, (prompt, row) in enumerate(zip(prompts, rows, strict=True)):
        at = width - len(prompt) - sum(map(len, row.answers))
        ids[b, at : at + len(prompt)] = torch.tensor(prompt)
        positions[b, at : at + len(prompt)] = torch.arange(len(prompt))
        segment[b, at : at + len(prompt)] = 1
        at += len(prompt)
        last = at - 1
        ends.append([])
        for j, answer in enumerate(row.answers):
            place = slice(at, at + len(answer))
            ids[b, place] = torch.tensor(answer, dtype=torch.long)
            positions[b, place] = torch.arange(len(prompt), len(prompt) + len(answer))
            segment[b, place] = 2 + j
            cells += [
                (b, last if t == 0 else at + t - 1, token, b * len(row.answers) + j)
                for t, token in enumerate(answer)
            ]
            at += len(answer)
            ends[-1].append(at - 1)
    before = torch.ones(width, width, dtype=torch.bool).tril()
    own = segment.unsqueeze(2) == segment.unsqueeze(1)
    of_prompt = (segment == 1).unsqueeze(1)
    seen = before & (own | of_prompt) & (segment > 0).unsqueeze(1)
    of_row, predictor, target, answer_of = torch.tensor(cells).view(-1, 4).unbind(1)
    device = session.device
    return SharedBatch(
        ids.to(device),
        positions.to(device),
        seen.to(device),
        of_row.to(device),
        predictor.to(device),
        target.to(device),
        answer_of.to(device),
        torch.tensor(ends, device=device),
        len(rows[0].answers),
    )


def computed_tokens(row: TrainRow) -> int:
    """Tokens that a forward pass over the row computes, its prompt once."""
    return row.start + sum(map(len, row.answers))
