"""Probabilities summed over passages at every token (RAG-Token; arXiv:2005.11401, section 2.1).

The Z prompts of one question are the rows of a batch; their next-token distributions are mixed with
the weights of the passages, and all rows take the same token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from luthier.content import Usage
from luthier.engine.generation.decode_loop import ends_of
from luthier.engine.session import Session
from luthier.errors import CapabilityError
from luthier.models.adaptation import Decoding
from luthier.models.backend import Generated, ScoreResult
from luthier.models.prompt import Rendered


def generate_by_token(
    session: Session, prompts: Sequence[Rendered], weights: Sequence[float], decoding: Decoding
) -> Generated:
    """The greedy text under Σ_z w_z p(· | z, y_<i); Z prompts, Z weights that sum to 1."""
    _only_plain_decoders(session)
    room = decoding.max_new_tokens
    rows, truncated = _rows(session, [session.encode(p) for p in prompts], room)
    ids, mask = _padded(session, rows)
    logs = torch.tensor(weights, device=session.device).clamp(min=1e-30).log()[:, None]
    ends = ends_of(session, decoding.stop)
    written: list[int] = []
    past: Any = None
    step = ids
    text = ""
    for _ in range(room):
        positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -step.shape[1] :]
        out = session.module(
            inputs_embeds=session.embed(step),
            attention_mask=mask,
            position_ids=positions,
            past_key_values=past,
            use_cache=True,
            logits_to_keep=1,
        )
        past = out.past_key_values
        mixed = torch.logsumexp(out.logits[:, -1].float().log_softmax(-1) + logs, 0)
        token = int(mixed.argmax())
        if token in ends:
            break
        written.append(token)
        text = session.tokenizer.decode(written, skip_special_tokens=True)
        if text.strip() and any(mark in text.lstrip() for mark in decoding.stop):
            break
        step = torch.full((len(rows), 1), token, device=session.device)
        mask = torch.cat([mask, torch.ones_like(step)], 1)
    read = sum(map(len, rows))
    new = len(written) + 1
    usage = Usage(read, new, read + new * len(rows), 1, int(truncated))
    return Generated(_cut(text, decoding.stop), usage)


def score_by_token(
    session: Session, prompts: Sequence[Rendered], weights: Sequence[float], said: Sequence[str]
) -> ScoreResult:
    """log Π_i Σ_z w_z p(y_i | z, y_<i) of each text y in `said`."""
    _only_plain_decoders(session)
    logs = torch.tensor(weights, device=session.device).clamp(min=1e-30).log()[:, None]
    logprobs, tokens, greedy, read = [], [], [], 0
    cut = False
    for text in said:
        pairs = [session.encode_pair(p, text) for p in prompts]
        answers = [ids[start:] for ids, start in pairs]
        length = min(map(len, answers))
        answer = answers[0][-length:]  # equal but for what merged with the prompt's end
        rows, truncated = _rows(session, [ids[: len(ids) - length] for ids, _ in pairs], length)
        cut = cut or truncated
        ids, mask = _padded(session, [row + answer for row in rows])
        out = session.module(
            inputs_embeds=session.embed(ids),
            attention_mask=mask,
            position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
            use_cache=False,
            logits_to_keep=length + 1,
        )
        steps = out.logits[:, -length - 1 : -1].float().log_softmax(-1)
        mixed = torch.logsumexp(steps + logs[:, None], 0)
        wanted = torch.tensor(answer, device=session.device)
        logprobs.append(float(mixed.gather(1, wanted[:, None]).sum()))
        tokens.append(length)
        greedy.append(bool((mixed.argmax(-1) == wanted).all()))
        read += int(mask.sum())
    prompt_tokens = sum(len(session.encode(p)) for p in prompts)
    usage = Usage(prompt_tokens, 0, read, 1, int(cut))
    return ScoreResult(tuple(logprobs), tuple(tokens), tuple(greedy), usage)


def _only_plain_decoders(session: Session) -> None:
    if session.encoder_decoder or session.prefix_cache(1) is not None:
        what = "an encoder–decoder" if session.encoder_decoder else "a prefix adapter"
        raise CapabilityError(
            f"reading 'token' does not work with {what}",
            next_step="Use reading='sequence' or 'joined'.",
        )


def _rows(
    session: Session, prompts: Sequence[list[int]], room: int
) -> tuple[list[list[int]], bool]:
    """Prompts cut to the context (the first token and the end stay), virtual tokens put in."""
    limit = session.context_length
    virtual = 0 if session.soft is None else int(session.soft.shape[1])
    rows, cut = [], False
    for ids in prompts:
        if limit is not None and len(ids) + room + virtual > limit:
            keep = max(2, limit - room - virtual)
            ids, cut = [ids[0], *ids[-(keep - 1) :]], True
        rows.append(session.insert_virtual(ids, len(ids)))
    return rows, cut


def _padded(session: Session, rows: Sequence[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, rows))
    pad = session.tokenizer.pad_token_id or 0
    ids = torch.tensor([[pad] * (width - len(r)) + r for r in rows], device=session.device)
    mask = torch.tensor(
        [[0] * (width - len(r)) + [1] * len(r) for r in rows], device=session.device
    )
    return ids, mask


def _cut(text: str, stop: Sequence[str]) -> str:
    text = text.lstrip()
    for mark in stop:
        text = text.split(mark)[0]
    return text.strip()
