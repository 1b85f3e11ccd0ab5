"""The engine of a server gives what each adaptation gives alone, whatever shares its batches."""

from __future__ import annotations

import json

import pytest
import torch

from luthier.engine.continuous import ContinuousEngine
from luthier.models.adaptation import Adaptation, Adapter, Decoding, VirtualTokens
from luthier.models.backend import GenerateRequest, ScoreRequest
from luthier.models.prompt import Rendered
from tests import tiny

SHARED = "Route the message to one queue.\n\nInput: my card was charged twice\nLabel: billing\n\n"
LABELS = (" billing", " delivery", " refunds-and-returns", " b", " account access")
FAMILIES = ("llama", "opt", "gemma2", "qwen3", "gpt2")


def plain(config):
    """The configuration as it stands in adapter_config.json."""
    values = config.to_dict()
    return json.loads(json.dumps(values, default=lambda v: sorted(v) if isinstance(v, set) else v))


def lora(backend, seed, rank=2):
    import peft

    names = {"gpt2": ["c_attn"], "opt": ["q_proj", "v_proj"]}
    config = peft.LoraConfig(
        r=rank, lora_alpha=4, target_modules=names.get(backend.module.config.model_type,
                                                       ["q_proj", "v_proj"]),
        fan_in_fan_out=backend.module.config.model_type == "gpt2", task_type="CAUSAL_LM",
    )  # fmt: skip
    torch.manual_seed(seed)
    with backend.session(Adaptation(adapter=Adapter(config.to_dict(), {}))) as session:
        state = peft.get_peft_model_state_dict(session.peft)
        return Adapter(plain(config), {k: torch.randn_like(v) * 0.3 for k, v in state.items()})


def prefix(backend, seed):
    import peft

    config = peft.PrefixTuningConfig(num_virtual_tokens=5, task_type="CAUSAL_LM")
    torch.manual_seed(seed)
    with backend.session(Adaptation(adapter=Adapter(config.to_dict(), {}))) as session:
        config = session.peft.active_peft_config
        state = peft.get_peft_model_state_dict(session.peft)
        return Adapter(plain(config), {k: torch.randn_like(v) for k, v in state.items()})


def adaptations(backend):
    torch.manual_seed(5)
    soft = [torch.randn(1, n, backend.facts.hidden_size) for n in (3, 4)]
    found = [
        Adaptation(),
        Adaptation(soft_prompt=VirtualTokens(soft[0])),
        Adaptation(soft_prompt=VirtualTokens(soft[1], "after")),
        Adaptation(adapter=prefix(backend, 1)),
    ]
    if backend.module.config.model_type != "gpt2":  # its layers are no linear ones
        found += [
            Adaptation(adapter=lora(backend, 2)), Adaptation(adapter=lora(backend, 3, rank=4)),
        ]  # fmt: skip
    return found


@pytest.fixture(scope="module", params=FAMILIES)
def setting(request):
    backend = tiny.backend(request.param)
    every = adaptations(backend)
    return backend, every


def requests(count):
    texts = [f"Input: message number {i} about a parcel\nLabel:" for i in range(count)]
    return [Rendered(SHARED + text) for text in texts] + [Rendered("Input: short\nLabel:")]


def test_mixed_scores_are_those_of_each_adaptation(setting):
    backend, every = setting
    engine = ContinuousEngine(backend.module, backend.tokenizer)
    items = [(ScoreRequest(p, LABELS), a) for p in requests(3) for a in every]
    with torch.inference_mode():
        found = [engine.score(items), engine.score(items[::-1])[::-1]]  # the second from the store
    apart = 0
    for (request, adaptation), first, again in zip(items, *found, strict=True):
        (wanted,) = backend.score([request], adaptation)
        assert first.logprobs == pytest.approx(wanted.logprobs, abs=2e-3)
        assert again.logprobs == pytest.approx(wanted.logprobs, abs=2e-3)
        assert first.tokens == wanted.tokens
        assert first.greedy == wanted.greedy
        assert first.usage.prompt_tokens == wanted.usage.prompt_tokens
        apart += wanted.usage.computed_tokens
    once = sum(f.usage.computed_tokens for f in found[0])
    assert sum(f.usage.computed_tokens for f in found[1]) < once / 2
    assert once < apart


def test_mixed_answers_are_those_of_each_adaptation(setting):
    backend, every = setting
    engine = ContinuousEngine(backend.module, backend.tokenizer)
    decodings = [
        Decoding(max_new_tokens=9, stop=()),
        Decoding(max_new_tokens=5, temperature=0.8, stop=("x",)),
        Decoding(max_new_tokens=12, regex="(ab|cd)+e", stop=()),
    ]
    jobs = [
        (GenerateRequest(p, seed=i, decoding=d), a)
        for i, (p, d) in enumerate(zip(requests(2), decodings, strict=True))
        for a in every
    ]
    with torch.inference_mode():
        answers, pending = [], list(jobs)
        while pending or not engine.idle:
            if pending:  # they come while others are under way
                request, adaptation = pending.pop(0)
                answers += engine.start(request, adaptation, top_logprobs=2)
            engine.step()
    for (request, adaptation), answer in zip(jobs, answers, strict=True):
        (wanted,) = backend.generate([request], adaptation)
        assert answer.generated.text == wanted.text
        assert answer.generated.cut == wanted.cut
        assert answer.generated.usage.generated_tokens == wanted.usage.generated_tokens
        assert len(answer.logprobs) == wanted.usage.generated_tokens
        for _, value, likeliest in answer.logprobs:
            assert value <= 1e-6
            assert len(likeliest) <= 2


def test_pieces_are_beginnings_of_the_text_and_a_cancelled_answer_leaves():
    backend = tiny.backend("llama")
    engine = ContinuousEngine(backend.module, backend.tokenizer)
    decoding = Decoding(max_new_tokens=20, stop=())
    prompts = requests(2)
    with torch.inference_mode():
        (kept,) = engine.start(GenerateRequest(prompts[0], decoding=decoding), Adaptation())
        (gone,) = engine.start(GenerateRequest(prompts[1], decoding=decoding), Adaptation())
        texts = []
        for step in range(40):
            if step == 3:
                gone.cancelled = True
            engine.step()
            texts.append(kept.text)
    assert engine.idle
    assert len(gone.sequence.tokens) == 3
    (wanted,) = backend.generate([GenerateRequest(prompts[0], decoding=decoding)], Adaptation())
    assert kept.generated.text == texts[-1] == wanted.text
    for text in texts:
        assert wanted.text.startswith(text)


def test_samples_of_one_request_are_those_of_the_backend():
    backend = tiny.backend("llama")
    engine = ContinuousEngine(backend.module, backend.tokenizer)
    decoding = Decoding(max_new_tokens=6, temperature=1.0, stop=())
    request = GenerateRequest(requests(1)[0], seed=4, samples=3, decoding=decoding)
    with torch.inference_mode():
        answers = engine.start(request, Adaptation())
        while not engine.idle:
            engine.step()
    (wanted,) = backend.generate([request], Adaptation())
    texts = [wanted.text, *(o.text for o in wanted.others)]
    assert [a.generated.text for a in answers] == texts


def test_the_store_keeps_its_cap_and_answers_stay_right():
    backend = tiny.backend("llama")
    engine = ContinuousEngine(backend.module, backend.tokenizer, cache_bytes=60_000)
    items = [
        (ScoreRequest(Rendered(f"{i} unlike any other text\nLabel:"), LABELS), Adaptation())
        for i in range(30)
    ]
    for item in items * 2:
        with torch.inference_mode():
            (found,) = engine.score([item])
        assert found.logprobs == pytest.approx(
            backend.score([item[0]], item[1])[0].logprobs, abs=2e-3
        )
        assert engine.store.bytes <= 60_000


def test_no_more_memory_is_held_than_is_counted():
    backend = tiny.backend("llama")
    engine = ContinuousEngine(backend.module, backend.tokenizer)
    texts = [SHARED + f"Input: parcel {i} is late\nLabel:" for i in range(12)]
    decoding = Decoding(max_new_tokens=3, stop=())
    with torch.inference_mode():
        for k in range(0, len(texts), 4):
            some = [Rendered(t) for t in texts[k : k + 4]]
            engine.score([(ScoreRequest(p, LABELS), Adaptation()) for p in some])
            for prompt in some:
                engine.start(GenerateRequest(prompt, decoding=decoding), Adaptation())
            while not engine.idle:
                engine.step()
    nodes, held = list(engine.store._roots.values()), 0
    for node in nodes:
        nodes += node.children.values()
        held += sum(t.untyped_storage().nbytes() for pair in node.values.values() for t in pair)
    assert len(nodes) > 20
    assert held == engine.store.bytes


def test_what_cannot_share_is_told():
    backend = tiny.backend("llama")
    engine = ContinuousEngine(backend.module, backend.tokenizer)
    votes = torch.randn(2, 3, backend.facts.hidden_size)
    assert not engine.accepts(Adaptation(soft_prompt=VirtualTokens(votes)))
    assert not engine.accepts(Adaptation(decoding=Decoding(guidance_scale=2.0)))
    assert engine.accepts(Adaptation())
