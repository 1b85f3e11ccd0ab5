"""Text from a local model, by transformers' own `generate`, in batches of prompts of like
length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from luthier.errors import CapabilityError
from luthier.models.adaptation import Decoding
from luthier.models.backend import Generated, GenerateRequest
from luthier.models.local.encoder_decoder import encode_prompts
from luthier.models.local.session import Session
from luthier.records import Usage

PROMPTS_A_BATCH = 16


def generate(
    session: Session, requests: Sequence[GenerateRequest], decoding: Decoding
) -> list[Generated]:
    """One text for each request; greedy at temperature 0, else sampled with the request's seed."""
    if session.soft is not None and session.prefix_cache(1) is not None:
        raise CapabilityError(
            "A soft prompt and a prefix adapter cannot generate together",
            next_step="Use one of the two, or score labels instead.",
        )
    prompts = [session.encode(r.prompt) for r in requests]
    limit = session.context_length
    truncated = [False] * len(prompts)
    if limit is not None and not session.encoder_decoder:
        room = decoding.max_new_tokens + (0 if session.soft is None else session.soft.shape[1])
        for i, ids in enumerate(prompts):
            if len(ids) + room > limit:
                keep = max(2, limit - room)
                prompts[i], truncated[i] = [ids[0], *ids[-(keep - 1) :]], True
    order = sorted(range(len(requests)), key=lambda i: (requests[i].seed, -len(prompts[i])))
    out: dict[int, Generated] = {}
    at = 0
    while at < len(order):
        seed = requests[order[at]].seed
        members = [i for i in order[at : at + PROMPTS_A_BATCH] if requests[i].seed == seed]
        texts = _batch(session, [prompts[i] for i in members], decoding, seed)
        for i, text in zip(members, texts, strict=True):
            new = len(session.tokenizer(text, add_special_tokens=False).input_ids) + 1
            n = len(prompts[i])
            out[i] = Generated(text, Usage(n, new, n + new, 1, int(truncated[i])))
        at += len(members)
    return [out[i] for i in range(len(requests))]


def _batch(
    session: Session, prompts: Sequence[Sequence[int]], decoding: Decoding, seed: int
) -> list[str]:
    tokenizer = session.tokenizer
    sampling: dict[str, Any] = {"do_sample": False}
    if decoding.temperature > 0:
        sampling = {"do_sample": True, "temperature": decoding.temperature, "top_k": 0}
    settings = {
        "max_new_tokens": decoding.max_new_tokens,
        "pad_token_id": tokenizer.pad_token_id,
        **sampling,
    }
    if decoding.stop:
        settings |= {"stop_strings": list(decoding.stop), "tokenizer": tokenizer}
    devices = [session.device] if session.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        ids, start = _generate(session, prompts, settings)
    texts = tokenizer.batch_decode(ids[:, start:], skip_special_tokens=True)
    return [_cut(text, decoding.stop) for text in texts]


def _generate(
    session: Session, prompts: Sequence[Sequence[int]], settings: dict[str, Any]
) -> tuple[torch.Tensor, int]:
    """Ids, and where the new ones start in them."""
    if session.encoder_decoder:
        embeds, mask = encode_prompts(session, prompts)
        out = session.module.generate(inputs_embeds=embeds, attention_mask=mask, **settings)
        return out, 1
    rows = [session.insert_virtual(p, len(p)) for p in prompts]
    longest = max(len(r) for r in rows)
    pad = session.tokenizer.pad_token_id or 0
    ids = torch.tensor([[pad] * (longest - len(r)) + r for r in rows], device=session.device)
    mask = torch.tensor(
        [[0] * (longest - len(r)) + [1] * len(r) for r in rows], device=session.device
    )
    if session.soft is None:
        runner = session.module if session.peft is None else session.peft
        return runner.generate(input_ids=ids, attention_mask=mask, **settings), longest
    embeds = session.embed(ids)
    # With embeddings in, only the new tokens come out.
    return session.module.generate(inputs_embeds=embeds, attention_mask=mask, **settings), 0


def _cut(text: str, stop: Sequence[str]) -> str:
    """Up to the first stop string, leading white space and line ends dropped first."""
    text = text.lstrip()
    for mark in stop:
        text = text.split(mark)[0]
    return text.strip()
