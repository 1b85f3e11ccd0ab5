"""Scoring continuations with an encoder–decoder: each prompt is encoded once, its answers
decoded."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from luthier.models.backend import ScoreRequest, ScoreResult
from luthier.models.local.session import Session
from luthier.records import Usage

PROMPTS_A_BATCH = 16


def score(session: Session, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
    """Summed log-probabilities of every continuation, end of sequence included."""
    encoded = [session.encode(r.prompt) for r in requests]
    order = sorted(range(len(requests)), key=lambda i: -len(encoded[i]))
    out: dict[int, ScoreResult] = {}
    for at in range(0, len(order), PROMPTS_A_BATCH):
        members = order[at : at + PROMPTS_A_BATCH]
        results = _score_batch(
            session, [requests[i] for i in members], [encoded[i] for i in members]
        )
        out.update(zip(members, results, strict=True))
    return [out[i] for i in range(len(requests))]


def encode_prompts(
    session: Session, prompts: Sequence[Sequence[int]], soft: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded embeddings (B, S, H) and mask (B, S), virtual tokens of every vote in front."""
    votes = 1 if session.soft is None else int(session.soft.shape[0])
    rows = [session.insert_virtual(p, len(p), vote=v) for p in prompts for v in range(votes)]
    longest = max(len(r) for r in rows)
    pad = session.tokenizer.pad_token_id or 0
    ids = torch.tensor([r + [pad] * (longest - len(r)) for r in rows], device=session.device)
    mask = torch.tensor(
        [[1] * len(r) + [0] * (longest - len(r)) for r in rows], device=session.device
    )
    return session.embed(ids, soft), mask


def _score_batch(
    session: Session, requests: Sequence[ScoreRequest], prompts: Sequence[Sequence[int]]
) -> list[ScoreResult]:
    from transformers.modeling_outputs import BaseModelOutput

    module, tokenizer = session.module, session.tokenizer
    votes = 1 if session.soft is None else int(session.soft.shape[0])
    embeds, mask = encode_prompts(session, prompts)
    hidden = module.get_encoder()(inputs_embeds=embeds, attention_mask=mask).last_hidden_state
    results = []
    for k, request in enumerate(requests):
        targets = [list(tokenizer(text_target=c.strip()).input_ids) for c in request.continuations]
        longest = max(len(t) for t in targets)
        labels = torch.tensor(
            [t + [-100] * (longest - len(t)) for t in targets], device=session.device
        )
        total = torch.zeros((votes, len(targets)), device=session.device)
        greedy = torch.zeros_like(total)
        for v in range(votes):
            row = k * votes + v
            states = hidden[row : row + 1].expand(len(targets), -1, -1)
            logits = module(
                encoder_outputs=BaseModelOutput(last_hidden_state=states),
                attention_mask=mask[row : row + 1].expand(len(targets), -1),
                decoder_input_ids=module.prepare_decoder_input_ids_from_labels(labels),
            ).logits.float()
            counted = labels != -100
            each = torch.log_softmax(logits, -1).gather(-1, labels.clamp(min=0).unsqueeze(-1))
            total[v] = (each.squeeze(-1) * counted).sum(-1)
            greedy[v] = ((logits.argmax(-1) == labels) | ~counted).all(-1).float()
        mean = torch.logsumexp(total, 0) - torch.log(torch.tensor(float(votes)))
        computed = votes * (len(prompts[k]) + sum(len(t) for t in targets))
        results.append(
            ScoreResult(
                logprobs=tuple(float(x) for x in mean),
                tokens=tuple(len(t) for t in targets),
                greedy=tuple(bool(x > 0.5) for x in greedy.mean(0)),
                usage=Usage(len(prompts[k]) * votes, 0, computed, 1),
            )
        )
    return results
