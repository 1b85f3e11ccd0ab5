"""Mixtures of prompts at every token (RAG-Token; arXiv:2005.11401, section 2.1).

The Z prompts of one question, each with another passage, are the rows of a batch. Their next-token
distributions are mixed with the weights of the passages, and all rows take the same token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from luthier.content import Usage
from luthier.engine.generation.sequence_state import end_tokens
from luthier.engine.request_rows import truncated
from luthier.engine.session import Session
from luthier.engine.shortening import shortened
from luthier.errors import CapabilityError
from luthier.models.adaptation import Decoding
from luthier.models.alternatives import told_apart
from luthier.models.backend import Generated, ScoreResult
from luthier.models.prompt import Rendered


def generate_mixture(
    session: Session, prompts: Sequence[Rendered], weights: Sequence[float], decoding: Decoding
) -> Generated:
    """The greedy text under Σ_z w_z p(· | z, y_<i). The Z weights of the Z prompts sum to 1.

    CapabilityError for an encoder–decoder and under a prefix adapter.
    """
    _check_plain_decoder(session)
    prompts, shorter = _fitting(session, prompts, decoding.max_new_tokens)
    rows, cut = _rows(session, [session.encode(p) for p in prompts], decoding.max_new_tokens)
    ids, mask = _left_padded(session, rows)
    logs = torch.tensor(weights, device=session.device).clamp(min=1e-30).log()[:, None]
    ends = end_tokens(session, decoding.stop)
    tokens: list[int] = []
    complete = False
    past: Any = None
    step = ids
    text = ""
    for _ in range(decoding.max_new_tokens):
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
            complete = True
            break
        tokens.append(token)
        text = session.tokenizer.decode(tokens, skip_special_tokens=True)
        if text.strip() and any(mark in text.lstrip() for mark in decoding.stop):
            complete = True
            break
        step = torch.full((len(rows), 1), token, device=session.device)
        mask = torch.cat([mask, torch.ones_like(step)], 1)
    text = text.lstrip()
    for mark in decoding.stop:
        text = text.split(mark)[0]
    prompt_tokens, new = sum(map(len, rows)), len(tokens) + 1
    usage = Usage(prompt_tokens, new, prompt_tokens + new * len(rows), 1, int(cut or shorter))
    return Generated(text.strip(), usage, cut=not complete)


def score_mixture(
    session: Session, prompts: Sequence[Rendered], weights: Sequence[float],
    continuations: Sequence[str],
) -> ScoreResult:  # fmt: skip
    """log Π_i Σ_z w_z p(y_i | z, y_<i) of each continuation y. The weights sum to 1.

    A continuation that begins another is told apart from it (`models.alternatives`).

    CapabilityError for an encoder–decoder and under a prefix adapter.
    """
    _check_plain_decoder(session)
    logs = torch.tensor(weights, device=session.device).clamp(min=1e-30).log()[:, None]
    logprobs, tokens, greedy, computed = [], [], [], 0
    scored: list[list[int]] = []
    longest = max(
        (len(session.encode_pair(prompts[0], text)[0]) for text in continuations), default=0
    )
    prompts, any_cut = _fitting(
        session, prompts, max(1, longest - len(session.encode(prompts[0])) + 1)
    )
    for text in continuations:
        pairs = [session.encode_pair(p, text) for p in prompts]
        answers = [ids[start:] for ids, start in pairs]
        length = min(map(len, answers))
        answer = answers[0][-length:]  # equal but for what merged with the prompt's end
        rows, cut = _rows(session, [ids[: len(ids) - length] for ids, _ in pairs], length)
        any_cut = any_cut or cut
        ids, mask = _left_padded(session, [row + answer for row in rows])
        out = session.module(
            inputs_embeds=session.embed(ids),
            attention_mask=mask,
            position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
            use_cache=False,
            logits_to_keep=length + 1,
        )
        steps = out.logits[:, -length - 1 : -1].float().log_softmax(-1)
        mixed = torch.logsumexp(steps + logs[:, None], 0)
        targets = torch.tensor(answer, device=session.device)
        logprobs.append(float(mixed.gather(1, targets[:, None]).sum()))
        tokens.append(length)
        scored.append(answer)
        greedy.append(bool((mixed.argmax(-1) == targets).all()))
        computed += int(mask.sum())
    prompt_tokens = sum(len(session.encode(p)) for p in prompts)
    usage = Usage(prompt_tokens, 0, computed, 1, int(any_cut))
    apart, flags = told_apart(logprobs, greedy, scored)
    return ScoreResult(apart, tuple(tokens), flags, usage)


def _check_plain_decoder(session: Session) -> None:
    if session.encoder_decoder or session.prefix_cache(1) is not None:
        what = "an encoder–decoder" if session.encoder_decoder else "a prefix adapter"
        raise CapabilityError(
            f"reading 'token' does not work with {what}",
            next_step="Use reading='sequence' or 'joined'.",
        )


def _fitting(
    session: Session, prompts: Sequence[Rendered], answer_tokens: int
) -> tuple[list[Rendered], bool]:
    """The prompts, each with its input cut in the middle where it is too long for the context
    beside an answer; and whether any was."""
    limit = session.text_limit
    if limit is None:
        return list(prompts), False
    most = max(2, limit - answer_tokens)
    found = [shortened(session, p, most) if len(session.encode(p)) > most else p for p in prompts]
    return found, any(short is not p for short, p in zip(found, prompts, strict=True))


def _rows(
    session: Session, prompts: Sequence[list[int]], answer_tokens: int
) -> tuple[list[list[int]], bool]:
    """Prompts as ids, virtual tokens put in; one that is still too long keeps its first token and
    its end. And whether any was cut so."""
    limit = session.text_limit
    rows, cut = [], False
    for ids in prompts:
        if limit is not None and len(ids) + answer_tokens > limit:
            ids, cut = truncated(ids, max(2, limit - answer_tokens)), True
        rows.append(session.insert_virtual(ids, len(ids)))
    return rows, cut


def _left_padded(session: Session, rows: Sequence[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask, (Z, longest row)."""
    width = max(map(len, rows))
    pad = session.tokenizer.pad_token_id or 0
    ids = torch.tensor([[pad] * (width - len(r)) + r for r in rows], device=session.device)
    mask = torch.tensor(
        [[0] * (width - len(r)) + [1] * len(r) for r in rows], device=session.device
    )
    return ids, mask
