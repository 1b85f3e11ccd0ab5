"""From logits to one token for each answer: votes averaged, guidance, constraint, sampling.

B sequences, V votes, K vocabulary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch

from luthier.engine.generation.sequence_state import SequenceState


def next_tokens(
    logits: Sequence[torch.Tensor], weights: torch.Tensor, sequences: Sequence[SequenceState]
) -> torch.Tensor:
    """(B,) ids of the tokens that come next.

    `logits` are (B, V, K), first after the prompts and then, under guidance, after the negative
    prompts; `weights` (B, V) are the log-weights of the votes.
    """
    one_vote = logits[0].shape[1] == 1
    views = [x[:, 0] if one_vote else averaged(x, weights) for x in logits]
    values = views[0]
    if len(views) == 2:
        scale = torch.tensor([[s.guidance_scale] for s in sequences], device=values.device)
        values = guided(views[0], views[1], scale)
    masks = [None if s.constraint is None else s.constraint.allowed() for s in sequences]
    for b, mask in enumerate(masks):
        if mask is not None:
            values[b].masked_fill_(~mask.to(values.device), -torch.inf)
    tokens = values.argmax(-1)
    for b, sequence in enumerate(sequences):
        if sequence.generator is not None:
            tokens[b] = sampled(
                values[b], temperature=sequence.temperature, generator=sequence.generator
            )
    return tokens


def averaged(logits: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """log Σ_v w_v p_v(· | y_<i): logits (B, V, K) and log-weights (B, V) to (B, K).

    With w_v ∝ p_v(y_<i), kept up by `reweighted`, this is the next token under the mean of the
    votes' probabilities of whole answers, which label scoring uses too (Lester et al. 2021,
    arXiv:2104.08691, section 6).
    """
    return torch.logsumexp(logits.log_softmax(-1) + weights.unsqueeze(-1), 1)


def reweighted(weights: torch.Tensor, logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """The log-weights (B, V) after each answer took its token (B,)."""
    each = logits.log_softmax(-1).gather(2, tokens.view(-1, 1, 1).expand(-1, logits.shape[1], 1))
    return (weights + each.squeeze(-1)).log_softmax(-1)


def guided(logits: torch.Tensor, negative: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """log P̂ = log P(w|c̄) + γ (log P(w|c) − log P(w|c̄)), unnormalised; `scale` γ is (B, 1).

    This is classifier-free guidance with a negative prompt c̄ (Sanchez et al. 2023,
    arXiv:2306.17806, sections 2.2 and 3.4): γ = 1 is no guidance.
    """
    base = negative.log_softmax(-1)
    return base + scale * (logits.log_softmax(-1) - base)


def generator_of(prompt: Sequence[int], *, seed: int, sample: int) -> torch.Generator:
    """Randomness that depends on the request alone and not on what else is in its batch."""
    digest = hashlib.sha256(repr((list(prompt), seed, sample)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def sampled(logits: torch.Tensor, *, temperature: float, generator: torch.Generator) -> int:
    """One token of (K,) logits, each with its probability at this temperature."""
    sums = (logits.double() / temperature).softmax(-1).cumsum(-1).cpu()
    spot = torch.rand((), generator=generator, dtype=torch.float64) * sums[-1]
    # The first place whose sum is beyond the spot: never one of probability 0.
    return min(int(torch.searchsorted(sums, spot, right=True)), len(sums) - 1)
