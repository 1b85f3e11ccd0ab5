"""A model while it trains, as something that answers: sampled answers, and how likely they are.

The reference is the model as it stood when the policy was made. It is kept as the state of the
parameters and put in their place where its view is asked for, so that it takes no second model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch

from luthier.engine import Session, autocast, generate
from luthier.models.answering import render_for
from luthier.models.backend import GenerateRequest
from luthier.models.model import Model
from luthier.records import Example
from luthier.training.rows import TrainRow, batch_of, rows_for

ROWS_AT_ONCE = 16


class StatefulParameters(Protocol):
    """Parameters with a state that can be copied out and put back."""

    def parameters(self) -> list[torch.nn.Parameter]:
        """What trains."""
        ...

    def state(self) -> dict[str, torch.Tensor]:
        """A copy."""
        ...

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Put one back."""
        ...


@dataclass(frozen=True, slots=True)
class TokenView:
    """What a model sees at the tokens of B answers, padded on the left to K of them.

    `logprobs` and `entropies` (B, K) in nats, `states` (B, K, H) before each token, `mask` (B, K).
    """

    logprobs: torch.Tensor
    entropies: torch.Tensor
    states: torch.Tensor
    mask: torch.Tensor


class Policy:
    """The model of an open session whose parameters train."""

    def __init__(self, model: Model, session: Session, parameters: StatefulParameters) -> None:
        self.model, self.session, self.parameters = model, session, parameters
        self.first = parameters.state()

    @torch.inference_mode()
    def sample(
        self, examples: Sequence[Example], *, samples: int, temperature: float, seed: int
    ) -> list[list[tuple[str, bool]]]:
        """For each example so many answers, each with whether it ended by itself."""
        decoding = replace(self.model.adaptation.decoding, temperature=temperature, votes=1)
        prompts = render_for(self.model, examples)
        requests = [GenerateRequest(p, seed, samples, decoding=decoding) for p in prompts]
        return [
            [(g.text.strip(), not g.cut) for g in (found, *found.others)]
            for found in generate(self.session, requests, self.model.adaptation)
        ]

    def rows(self, examples: Sequence[Example], answers: Sequence[str]) -> list[TrainRow]:
        """One row for each example with its answer."""
        asked = [replace(e, target=a or " ") for e, a in zip(examples, answers, strict=True)]
        return rows_for(self.model, self.session, asked)

    def view(self, rows: Sequence[TrainRow]) -> TokenView:
        """What the model sees at the tokens of the rows' answers, with gradients."""
        batch = batch_of(self.session, rows)
        extra: dict[str, Any] = {}
        if batch.positions is not None:
            extra = {
                "position_ids": batch.positions,
                "logits_to_keep": batch.targets.shape[1] + 1,
                "use_cache": False,
            }
        with autocast(self.session.device, self.session.dtype):
            out = self.session.module(
                inputs_embeds=self.session.embed(batch.ids),
                attention_mask=batch.mask,
                output_hidden_states=True,
                **extra,
            )
        keep = batch.targets.shape[1] + 1
        mask = batch.targets >= 0
        logs = torch.log_softmax(out.logits[:, -keep:-1].float(), -1)
        chosen = logs.gather(-1, batch.targets.clamp(min=0).unsqueeze(-1)).squeeze(-1)
        entropies = -(logs.detach().exp() * logs.detach()).sum(-1)
        states = out.hidden_states[-1][:, -keep:-1].float()
        return TokenView(chosen * mask, entropies * mask, states, mask)

    @torch.no_grad()
    def still_view(self, rows: Sequence[TrainRow]) -> TokenView:
        """The same without gradients."""
        return self.view(rows)

    @torch.no_grad()
    def gains(self, rows: Sequence[TrainRow]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """For each row log π(y) − log π_ref(y) (N,), the sum over its tokens; its tokens; and the
        mean entropy at them."""
        own: list[TokenView] = []
        theirs: list[TokenView] = []
        groups = [rows[i : i + ROWS_AT_ONCE] for i in range(0, len(rows), ROWS_AT_ONCE)]
        own = [self.view(group) for group in groups]
        with self.as_reference():
            theirs = [self.view(group) for group in groups]
        gains = [(a.logprobs - b.logprobs).sum(-1) for a, b in zip(own, theirs, strict=True)]
        tokens = [a.mask.sum(-1) for a in own]
        entropies = [a.entropies.sum(-1) / a.mask.sum(-1).clamp(min=1) for a in own]
        return torch.cat(gains), torch.cat(tokens), torch.cat(entropies)

    @contextmanager
    def as_reference(self) -> Iterator[None]:
        """The model as it was at the start, for a while."""
        now = self.parameters.state()
        self.parameters.load(self.first)
        try:
            yield
        finally:
            self.parameters.load(now)
