"""From logits to one token for each answer: votes mixed, guidance, constraint, sampling."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch


def mixed(logits: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """log Σ_v w_v p_v(· | y_<i): logits (B, V votes, vocabulary), log-weights (B, V) to (B,
    vocabulary).

    With w_v ∝ p_v(y_<i), kept up by `reweighed`, this is the next token under the mean of the
    votes' probabilities of whole answers, which is what label scoring takes too (Lester et al.
    2021, arXiv:2104.08691, section 6).
    """
    return torch.logsumexp(logits.log_softmax(-1) + weights.unsqueeze(-1), 1)


def reweighed(weights: torch.Tensor, logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Log-weights (B, V) after each answer took its token (B,)."""
    each = logits.log_softmax(-1).gather(2, tokens.view(-1, 1, 1).expand(-1, logits.shape[1], 1))
    return (weights + each.squeeze(-1)).log_softmax(-1)


def guided(given: torch.Tensor, negative: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """log P̂ = log P(w|c̄) + γ (log P(w|c) − log P(w|c̄)), unnormalised; γ (B, 1).

    Classifier-free guidance with a negative prompt c̄ (Sanchez et al. 2023, arXiv:2306.17806,
    sections 2.2 and 3.4): γ = 1 is no guidance.
    """
    base = negative.log_softmax(-1)
    return base + scale * (given.log_softmax(-1) - base)


def generator_of(prompt: Sequence[int], *, seed: int, sample: int) -> torch.Generator:
    """Randomness that depends on the request alone, so that company in a batch changes nothing."""
    digest = hashlib.sha256(repr((list(prompt), seed, sample)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def sampled(logits: torch.Tensor, *, temperature: float, generator: torch.Generator) -> int:
    """One token of (vocabulary,) logits, each with its probability at this temperature."""
    sums = (logits.double() / temperature).softmax(-1).cumsum(-1).cpu()
    spot = torch.rand((), generator=generator, dtype=torch.float64) * sums[-1]
    # The first place whose sum is beyond the spot: never one of probability 0.
    return min(int(torch.searchsorted(sums, spot, right=True)), len(sums) - 1)
