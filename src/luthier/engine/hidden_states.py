"""The states of a base's layers while it reads prompts, pooled over the tokens.

Layer 0 is the embeddings, layer n what comes out of the n-th block; the last one is what the output
layer would read. Prompts of like length share a batch, padded on the right: attention is causal, or
the padding is masked. Of an encoder–decoder these are the states of the encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
import torch

from luthier.engine.memory import ModelShape, memory_cap, run_in_halves
from luthier.engine.precision import autocast
from luthier.engine.request_rows import truncated
from luthier.engine.session import Session
from luthier.models.backend import PooledStates
from luthier.models.prompt import Rendered

TOKENS_A_BATCH = 3072  # as for continuations


def pooled_states(
    session: Session, prompts: Sequence[Rendered], layers: Sequence[int]
) -> list[PooledStates]:
    """The state of the last token and the mean over all tokens, for each prompt and layer.

    The mean leaves out a BOS before other tokens, whose state is large and the same for all
    prompts. Where several soft prompts vote, it is their mean. A prompt too long for the context
    keeps its first token and its end.
    """
    rows = []
    for prompt in prompts:
        ids = session.encode(prompt) or [session.opening_token]
        if session.text_limit is not None:
            ids = truncated(ids, session.text_limit)
        rows += [session.insert_virtual(ids, len(ids), vote=v) for v in range(session.votes)]
    pooled = iter(_row_states(session, rows, list(layers)))
    found = []
    for _ in prompts:
        votes = [next(pooled) for _ in range(session.votes)]
        last = np.mean([vote.last for vote in votes], axis=0)
        mean = np.mean([vote.mean for vote in votes], axis=0)
        found.append(PooledStates(last, mean, sum(vote.tokens for vote in votes)))
    return found


def _row_states(
    session: Session, rows: Sequence[list[int]], layers: list[int]
) -> list[PooledStates]:
    shape, cap = ModelShape.of(session), memory_cap(session.device)
    waiting = sorted(range(len(rows)), key=lambda k: -len(rows[k]))
    found: dict[int, PooledStates] = {}
    with autocast(session.device, session.dtype):
        while waiting:
            width = len(rows[waiting[0]])
            kept = (shape.layers + 1) * width * shape.hidden * shape.bytes
            by_memory = cap // (shape.row_bytes(width, session.prefix_length, 0) + kept)
            size = max(1, min(TOKENS_A_BATCH // width, by_memory))
            members, waiting = waiting[:size], waiting[size:]
            batches = run_in_halves(
                lambda batch: _batch_states(session, batch, layers),
                [rows[k] for k in members],
                _halves,
                describe=lambda batch: f"A prompt of {len(batch[0])} tokens",
            )
            found.update(zip(members, chain.from_iterable(batches), strict=True))
    return [found[k] for k in range(len(rows))]


def _halves(batch: list[list[int]]) -> list[list[list[int]]] | None:
    middle = len(batch) // 2
    return [batch[:middle], batch[middle:]] if middle else None


def _batch_states(session: Session, rows: list[list[int]], layers: list[int]) -> list[PooledStates]:
    width, pad, device = max(map(len, rows)), session.tokenizer.pad_token_id or 0, session.device
    ids = torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows], device=device)
    lengths = torch.tensor([len(row) for row in rows], device=device)
    bos = session.tokenizer.bos_token_id
    first = torch.tensor([int(len(row) > 1 and row[0] == bos) for row in rows], device=device)
    states = _layer_states(session, ids, lengths, layers)
    places = torch.arange(width, device=device)
    counted = (places >= first[:, None]) & (places < lengths[:, None])
    pooled = []
    for state in states:
        state = state.float()
        last = state[torch.arange(len(rows), device=device), lengths - 1]
        mean = (state * counted[:, :, None]).sum(1) / counted.sum(1, keepdim=True)
        pooled.append((last.cpu().numpy(), mean.cpu().numpy()))
    return [
        PooledStates(
            np.stack([last[k] for last, _ in pooled]),
            np.stack([mean[k] for _, mean in pooled]),
            len(row),
        )
        for k, row in enumerate(rows)
    ]


def _layer_states(
    session: Session, ids: torch.Tensor, lengths: torch.Tensor, layers: list[int]
) -> list[torch.Tensor]:
    """The states (B, W, H) of the wanted layers."""
    batch, width = ids.shape
    if session.encoder_decoder:
        mask = (torch.arange(width, device=ids.device) < lengths[:, None]).long()
        encoder = session.module.get_encoder()
        states = encoder(
            inputs_embeds=session.embed(ids), attention_mask=mask, output_hidden_states=True
        ).hidden_states
        return [states[layer] for layer in layers]
    past, cache = session.prefix_length, session.prefix_cache(batch)
    mask = (torch.arange(past + width, device=ids.device) < past + lengths[:, None]).long()
    states = session.module.base_model(
        inputs_embeds=session.embed(ids),
        attention_mask=mask,
        position_ids=torch.arange(past, past + width, device=ids.device).expand(batch, -1),
        past_key_values=cache,
        use_cache=cache is not None,
        output_hidden_states=True,
    ).hidden_states
    return [states[layer] for layer in layers]
