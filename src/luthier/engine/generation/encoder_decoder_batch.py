"""Sequences that an encoder–decoder generates. Each distinct prompt is encoded once.

All sequences start together, for the decoder counts positions from where its batch began; new ones
join when all have ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from luthier.engine.session import Session


class EncoderDecoderBatch:
    """The sequences that are being generated, at most `most` at once."""

    def __init__(self, session: Session, *, most: int) -> None:
        self.session = session
        self.computed = 0  # tokens run so far
        self.most = most
        self._rows = 0
        self._hidden: torch.Tensor = torch.empty(0)
        self._kind: type[Any]  # of the encoder's output
        self._mask: torch.Tensor = torch.empty(0)
        self._cache: Any = None

    @property
    def free(self) -> int:
        """How many sequences may join now."""
        return 0 if self._rows else self.most

    def admit(self, prompts: Sequence[Sequence[int]]) -> torch.Tensor:
        """Encode prompts, virtual tokens in place: logits (rows, V) of the first tokens."""
        from transformers import DynamicCache, EncoderDecoderCache

        session, module = self.session, self.session.module
        wanted = [tuple(p) for p in prompts]
        distinct = {p: i for i, p in enumerate(dict.fromkeys(wanted))}
        longest = max(len(p) for p in distinct)
        pad = session.tokenizer.pad_token_id or 0
        device = session.device
        ids = torch.tensor([[*p, *[pad] * (longest - len(p))] for p in distinct], device=device)
        lengths = torch.tensor([[len(p)] for p in distinct], device=device)
        mask = (torch.arange(longest, device=device) < lengths).long()
        encoder = module.get_encoder()
        encoded = encoder(inputs_embeds=session.embed(ids), attention_mask=mask)
        hidden, self._kind = encoded.last_hidden_state, type(encoded)
        which = torch.tensor([distinct[p] for p in wanted], device=device)
        self._hidden, self._mask = hidden[which], mask[which]
        self._cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        self._rows = len(wanted)
        self.computed += int(lengths.sum())
        start = module.generation_config.decoder_start_token_id
        if start is None:
            start = module.config.decoder_start_token_id
        return self.step([int(start)] * len(wanted))

    def step(self, tokens: Sequence[int]) -> torch.Tensor:
        """Append one token to every row: logits (rows, V) of what follows."""
        device = self.session.device
        out = self.session.module(
            encoder_outputs=self._kind(last_hidden_state=self._hidden),
            attention_mask=self._mask,
            decoder_input_ids=torch.tensor(tokens, device=device).unsqueeze(1),
            past_key_values=self._cache,
            use_cache=True,
        )
        self._cache = out.past_key_values
        self.computed += len(tokens)
        logits: torch.Tensor = out.logits[:, -1].float()
        return logits

    def keep(self, order: Sequence[int]) -> None:
        """Go on with these rows, in this order."""
        which = torch.tensor(order, dtype=torch.long, device=self.session.device)
        self._rows = len(order)
        self._hidden, self._mask = self._hidden[which], self._mask[which]
        if order:
            self._cache.batch_select_indices(which)
        else:
            self._cache = None
