"""Requests for different adaptations in one call: equal to one adaptation at a time."""

from __future__ import annotations

import pytest
import torch

from luthier.models.adaptation import Adaptation, VirtualTokens
from luthier.models.backend import ScoreRequest
from luthier.models.prompt import Rendered
from tests import tiny
from tests.test_models_local import lora

LABELS = (" billing", " delivery", " account access")
HEAD = "Passage: the quick brown fox jumps over the lazy dog\n\n" * 4


def soft(seed: int, placement: str, votes: int = 1) -> Adaptation:
    tensor = torch.randn(votes, 3 + seed, 32, generator=torch.manual_seed(seed))
    return Adaptation(soft_prompt=VirtualTokens(tensor, placement))


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "gemma3", "t5"])
def test_mixed_equals_one_at_a_time(family):
    backend = tiny.backend(family)
    adaptations = [
        Adaptation(), soft(1, "before"), soft(2, "after"), soft(3, "after"), soft(4, "before", 2),
    ]  # fmt: skip
    if family == "llama":
        adaptations.append(Adaptation(adapter=lora()))
    asked = [
        (ScoreRequest(Rendered(text=f"{HEAD}Input: {i}\nLabel:"), LABELS), a)
        for i in ("pay", "where", "x")
        for a in adaptations
    ]
    for got, (request, adaptation) in zip(backend.score_mixed(asked), asked, strict=True):
        alone = backend.score([request], adaptation)[0]
        assert got.logprobs == pytest.approx(alone.logprobs, rel=1e-4, abs=1e-3)
        assert got.tokens == alone.tokens
    assert backend.score_mixed([]) == []


def test_soft_prompts_after_the_input_share_the_input():
    backend = tiny.backend("llama")
    request = ScoreRequest(Rendered(text=f"{HEAD}Input: pay\nLabel:"), LABELS)
    asked = [(request, soft(k, "after")) for k in range(1, 5)]
    together = sum(r.usage.computed_tokens for r in backend.score_mixed(asked))
    alone = [backend.score([r], a)[0].usage.computed_tokens for r, a in asked]
    assert together < 1.5 * max(alone) < sum(alone)
