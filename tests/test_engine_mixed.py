"""Requests for different adaptations in one call: equal to one adaptation at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import peft
import pytest
import torch

from luthier.engine import LocalBackend, injected
from luthier.engine.adapters.batched_lora import shares_batches
from luthier.models.adaptation import Adaptation, Adapter, VirtualTokens
from luthier.models.backend import ScoreRequest
from luthier.models.prompt import Rendered
from luthier.training.peft_config import adapter_config, has_transposed_weights
from tests import tiny

LABELS = (" billing", " delivery", " account access")
HEAD = "Passage: the quick brown fox jumps over the lazy dog\n\n" * 4


def soft(seed: int, placement: str, votes: int = 1) -> Adaptation:
    tensor = torch.randn(votes, 3 + seed, 32, generator=torch.manual_seed(seed))
    return Adaptation(soft_prompt=VirtualTokens(tensor, placement))


def trained_lora(backend: LocalBackend, rank: int, seed: int, **more: Any) -> Adapter:
    """LoRA on every linear layer, as PEFT shapes it, with random weights."""
    made = peft.LoraConfig(
        task_type="CAUSAL_LM", r=rank, lora_alpha=5, target_modules="all-linear",
        fan_in_fan_out=has_transposed_weights(backend.module), **more,
    )  # fmt: skip
    config = adapter_config(made)
    generator = torch.Generator().manual_seed(seed)
    with injected(backend.module, Adapter(config, {})) as wrapped:
        tensors = {
            name: torch.randn(tensor.shape, generator=generator) * 0.3
            for name, tensor in peft.get_peft_model_state_dict(wrapped).items()
        }
    return Adapter(config, tensors)


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "gemma3", "t5"])
def test_mixed_equals_one_at_a_time(family):
    backend = tiny.backend(family)
    adaptations = [
        Adaptation(), soft(1, "before"), soft(2, "after"), soft(3, "after"), soft(4, "before", 2),
    ]  # fmt: skip
    if family != "t5":
        loras = [trained_lora(backend, rank, seed) for rank, seed in ((2, 5), (3, 6))]
        adaptations += [Adaptation(adapter=each) for each in loras]
        adaptations.append(replace(soft(2, "after"), adapter=loras[0]))
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


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt"])
def test_loras_share_batches_and_leave_the_base_as_it_was(family):
    backend = tiny.backend(family)
    adaptations = [
        Adaptation(adapter=trained_lora(backend, 1 + k % 3, k, use_rslora=k == 2)) for k in range(6)
    ]
    asked = [
        (ScoreRequest(Rendered(text=f"Input: {i}\nLabel:"), LABELS), a)
        for i in ("pay", "where is it")
        for a in [*adaptations, Adaptation()]
    ]
    rows: list[int] = []
    hook = backend.module.register_forward_pre_hook(
        lambda _, args, given: rows.append(len(given["inputs_embeds"])), with_kwargs=True
    )
    together = backend.score_mixed(asked)
    assert rows == [7]  # the two inputs of an adapter stand in one row
    hook.remove()
    for got, (request, adaptation) in zip(together, asked, strict=True):
        alone = backend.score([request], adaptation)[0]
        assert got.logprobs == pytest.approx(alone.logprobs, rel=1e-4, abs=1e-3)
    spread = [r.logprobs[0] for r in together[: len(adaptations)]]
    assert max(spread) - min(spread) > 0.1
    assert not any(m._forward_hooks for m in backend.module.modules())


def test_what_is_more_than_plain_lora_runs_by_itself():
    backend = tiny.backend("llama")
    plain = trained_lora(backend, 2, 0)
    dora = trained_lora(backend, 2, 1, use_dora=True)
    assert shares_batches(plain)
    assert not shares_batches(dora)
    request = ScoreRequest(Rendered(text="Input: pay\nLabel:"), LABELS)
    asked = [(request, Adaptation(adapter=a)) for a in (plain, dora, plain)]
    for got, (_, adaptation) in zip(backend.score_mixed(asked), asked, strict=True):
        alone = backend.score([request], adaptation)[0]
        assert got.logprobs == pytest.approx(alone.logprobs, rel=1e-4, abs=1e-3)


def test_threads_that_share_a_backend_take_turns():
    backend = tiny.backend("llama")
    adaptations = [Adaptation(), soft(1, "after")] + [
        Adaptation(adapter=trained_lora(backend, rank, rank)) for rank in (2, 3)
    ]
    requests = [
        ScoreRequest(Rendered(text=f"{HEAD}Input: {i}\nLabel:"), LABELS) for i in ("pay", "x")
    ]
    wanted = [[r.logprobs for r in backend.score(requests, a)] for a in adaptations]

    def ask(k: int) -> list[Any]:
        once = [r.logprobs for r in backend.score(requests, adaptations[k])]
        mixed = backend.score_mixed([(r, adaptations[k]) for r in requests])
        return [once, [r.logprobs for r in mixed]]

    order = list(range(len(adaptations))) * 6
    with ThreadPoolExecutor(len(adaptations)) as pool:
        for k, found in zip(order, pool.map(ask, order), strict=True):
            for each in found:
                assert each == [pytest.approx(w, rel=1e-4, abs=1e-3) for w in wanted[k]]


def test_the_plain_engine_mixes_nothing(monkeypatch):
    backend = tiny.backend("llama")
    request = ScoreRequest(Rendered(text="Input: pay\nLabel:"), LABELS)
    asked = [(request, Adaptation(adapter=trained_lora(backend, 2, k))) for k in range(2)]
    fast = backend.score_mixed(asked)
    monkeypatch.setenv("LUTHIER_ENGINE", "plain")
    for a, b in zip(fast, backend.score_mixed(asked), strict=True):
        assert a.logprobs == pytest.approx(b.logprobs, rel=1e-4, abs=1e-3)
        assert b.usage.computed_tokens > a.usage.computed_tokens
