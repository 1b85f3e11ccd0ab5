"""The local backend: scoring equals the plain way on every architecture, adaptations come and
go."""

from __future__ import annotations

import subprocess
import sys
import warnings

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luthier.models.adaptation import Adaptation, Adapter, Decoding, VirtualTokens, Weights
from luthier.models.backend import GenerateRequest, ScoreRequest
from luthier.models.prompt import Rendered
from tests import tiny

SHARED = "Route the message to one queue.\n\nInput: my card was charged twice\nLabel: billing\n\n"
LABELS = (" billing", " delivery", " refunds-and-returns", " b", " account access")


def plain(backend, adaptation, request):
    """The reference: every prompt + continuation alone, no cache, no mask tricks."""
    out = []
    with backend.session(adaptation) as session, torch.inference_mode():
        for continuation in request.continuations:
            ids, start = session.encode_pair(request.prompt, continuation)
            if session.encoder_decoder:
                labels = torch.tensor([ids[start:]])
                embeds = session.embed(torch.tensor([session.insert_virtual(ids[:start], start)]))
                logits = session.module(inputs_embeds=embeds, labels=labels).logits[0]
                targets = labels[0]
            else:
                row = session.insert_virtual(ids[:start], start)
                targets = torch.tensor(ids[start:])
                embeds = session.embed(torch.tensor([row + ids[start:]]))
                cache = session.prefix_cache(1)
                past = 0 if cache is None else cache.get_seq_length()
                width = embeds.shape[1]
                logits = session.module(
                    inputs_embeds=embeds,
                    past_key_values=cache,
                    attention_mask=torch.ones(1, width + past, dtype=torch.long),
                    position_ids=torch.arange(past, past + width).unsqueeze(0),
                ).logits[0, len(row) - 1 : -1]
            logs = torch.log_softmax(logits.float(), -1)
            out.append(float(logs.gather(-1, targets.unsqueeze(-1)).sum()))
    return out


@pytest.fixture(scope="module")
def backends():
    return {family: tiny.backend(family) for family in tiny.FAMILIES}


@pytest.mark.parametrize("family", tiny.FAMILIES)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.text(" abelmprsty", min_size=0, max_size=30), min_size=1, max_size=5),
    st.lists(st.sampled_from(LABELS), min_size=1, max_size=5, unique=True),
    st.booleans(),
)
def test_scores_equal_the_plain_way(backends, family, inputs, labels, shared):
    backend = backends[family]
    head = SHARED if shared else ""
    requests = [
        ScoreRequest(Rendered(text=f"{head}Input: {i}\nLabel:"), tuple(labels)) for i in inputs
    ]
    scored = backend.score(requests, Adaptation())
    for request, result in zip(requests, scored, strict=True):
        expected = plain(backend, Adaptation(), request)
        assert result.logprobs == pytest.approx(expected, rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("placement", ["before", "after"])
def test_soft_prompt_scores_equal_the_plain_way(backends, family, placement):
    backend = backends[family]
    tokens = VirtualTokens(torch.randn(1, 4, 32, generator=torch.manual_seed(1)), placement)
    adaptation = Adaptation(soft_prompt=tokens)
    requests = [ScoreRequest(Rendered(text=SHARED + f"Input: {i}\nLabel:"), LABELS) for i in "abc"]
    for request, result in zip(requests, backend.score(requests, adaptation), strict=True):
        expected = plain(backend, adaptation, request)
        assert result.logprobs == pytest.approx(expected, rel=1e-4, abs=1e-3)
    bare = backend.score(requests, Adaptation())
    assert bare[0].logprobs != pytest.approx(expected, abs=1e-3)


def test_votes_average_probabilities(backends):
    backend = backends["llama"]
    tensor = torch.randn(3, 4, 32, generator=torch.manual_seed(1))
    requests = [ScoreRequest(Rendered(text=f"Input: {i}\nLabel:"), LABELS) for i in "ab"]
    together = backend.score(requests, Adaptation(soft_prompt=VirtualTokens(tensor)))
    alone = [
        backend.score(requests, Adaptation(soft_prompt=VirtualTokens(t.unsqueeze(0))))
        for t in tensor
    ]
    for i in range(2):
        each = torch.tensor([a[i].logprobs for a in alone])
        mean = torch.logsumexp(each, 0) - torch.log(torch.tensor(3.0))
        assert together[i].logprobs == pytest.approx(mean.tolist(), rel=1e-4)


def lora(rank: int = 2) -> Adapter:
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": 8,
        "target_modules": ["q_proj", "v_proj"], "base_model_name_or_path": None,
    }  # fmt: skip
    tensors = {}
    for layer in range(3):
        for name, out in (("q_proj", 32), ("v_proj", 16)):
            key = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            tensors[f"{key}.lora_A.weight"] = torch.randn(rank, 32, generator=torch.manual_seed(2))
            tensors[f"{key}.lora_B.weight"] = torch.randn(out, rank, generator=torch.manual_seed(3))
    return Adapter(config, tensors)


def test_adapter_comes_and_goes_and_the_base_stays(backends):
    backend = backends["llama"]
    before = {k: v.clone() for k, v in backend.module.state_dict().items()}
    request = ScoreRequest(Rendered(text="Input: a\nLabel:"), LABELS)
    bare = backend.score([request], Adaptation())[0].logprobs
    with_lora = backend.score([request], Adaptation(adapter=lora()))[0].logprobs
    assert with_lora != pytest.approx(bare, abs=1e-2)
    assert with_lora == pytest.approx(
        plain(backend, Adaptation(adapter=lora()), request), rel=1e-4, abs=1e-3
    )
    assert backend.score([request], Adaptation())[0].logprobs == bare
    after = backend.module.state_dict()
    assert set(after) == set(before)
    assert all(torch.equal(after[k], before[k]) for k in before)


def test_an_adapter_opens_without_warnings_of_libraries_to_their_developers(backends):
    config = {**lora().config, "base_model_name_or_path": "nano"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        backends["llama"].score(
            [ScoreRequest(Rendered(text="a"), LABELS)],
            Adaptation(adapter=Adapter(config, lora().tensors)),
        )


def test_a_script_that_asked_an_adapter_ends():
    """The adapter stays in place after the answer, and Python has to end all the same."""
    script = (
        "from luthier.models.adaptation import Adaptation\n"
        "from luthier.models.backend import ScoreRequest\n"
        "from luthier.models.prompt import Rendered\n"
        "from tests import test_models_local as here, tiny\n"
        "backend = tiny.backend('llama')\n"
        "request = ScoreRequest(Rendered(text='a'), here.LABELS)\n"
        "backend.score([request], Adaptation(adapter=here.lora()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True
    )
    assert "Error" not in done.stderr


def test_prefix_adapter_scores_equal_the_plain_way(backends):
    backend = backends["llama"]
    config = {
        "peft_type": "PREFIX_TUNING", "task_type": "CAUSAL_LM", "num_virtual_tokens": 5,
        "num_layers": 3, "token_dim": 16, "num_attention_heads": 2,
        "num_transformer_submodules": 1, "base_model_name_or_path": None,
    }  # fmt: skip
    weight = torch.randn(5, 3 * 2 * 16, generator=torch.manual_seed(4))
    adaptation = Adaptation(adapter=Adapter(config, {"prompt_embeddings": weight}))
    requests = [ScoreRequest(Rendered(text=SHARED + f"Input: {i}\nLabel:"), LABELS) for i in "abc"]
    for request, result in zip(requests, backend.score(requests, adaptation), strict=True):
        expected = plain(backend, adaptation, request)
        assert result.logprobs == pytest.approx(expected, rel=1e-4, abs=1e-3)


def test_fork_answers_differently_and_the_base_stays(backends):
    backend = backends["llama"]
    request = ScoreRequest(Rendered(text="Input: a\nLabel:"), LABELS)
    bare = backend.score([request], Adaptation())[0].logprobs
    fork = {k: v * 1.1 for k, v in backend.module.state_dict().items() if v.dim() > 1}
    forked = backend.score([request], Adaptation(weights=Weights(fork)))[0].logprobs
    assert forked != pytest.approx(bare, abs=1e-3)
    assert backend.score([request], Adaptation())[0].logprobs == bare


def test_a_prompt_longer_than_the_context_is_cut_and_counted(backends):
    long = "Input: " + "delivery " * 900 + "\nLabel:"
    result = backends["llama"].score([ScoreRequest(Rendered(text=long), LABELS)], Adaptation())[0]
    assert result.usage.truncated == 1
    assert all(torch.isfinite(torch.tensor(result.logprobs)))


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_greedy_flag_marks_what_greedy_decoding_says(backends, family):
    backend = backends[family]
    seen = 0
    for word in "abcdefghijklmnopqrstuvwxyz":
        prompt = Rendered(text=f"Input: where is my {word}\nLabel:")
        with backend.session(Adaptation()) as session, torch.inference_mode():
            ids = session.encode(prompt)
            new = session.module.generate(
                input_ids=torch.tensor([ids]), max_new_tokens=1, do_sample=False
            )[0, len(ids) :]
            text = session.tokenizer.decode(new)
            if session.encode_pair(prompt, text)[0] != [*ids, *new.tolist()]:
                continue  # a byte of a longer character, or a special token
        seen += 1
        result = backend.score([ScoreRequest(prompt, (text, " zzzz"))], Adaptation())[0]
        assert result.greedy == (True, False)
    assert seen


@pytest.mark.parametrize("family", ["llama", "gpt2", "t5"])
def test_generation_does_not_depend_on_the_batch(backends, family):
    backend = backends[family]
    texts = ["Input: a\nLabel:", "Input: where is my parcel, it was due\nLabel:", "x"]
    decoding = Decoding(max_new_tokens=6, stop=())
    requests = [GenerateRequest(Rendered(text=t)) for t in texts]
    soft = VirtualTokens(torch.randn(1, 4, 32, generator=torch.manual_seed(1)))
    for adaptation in (
        Adaptation(decoding=decoding),
        Adaptation(decoding=decoding, soft_prompt=soft),
    ):
        together = backend.generate(requests, adaptation)
        alone = [backend.generate([r], adaptation)[0] for r in requests]
        assert [g.text for g in together] == [g.text for g in alone]


def test_save_and_load_give_equal_answers(tmp_path, backends):
    from luthier.models.model import Model
    from luthier.models.storage import open_adaptation

    adaptation = Adaptation(
        soft_prompt=VirtualTokens(torch.randn(1, 4, 32), "after"),
        adapter=lora(),
        weights=Weights(
            {k: v * 1.1 for k, v in backends["llama"].module.state_dict().items() if v.dim() > 1}
        ),
    )
    model = Model(backends["llama"], adaptation)
    model.save(tmp_path / "a")
    again, _, _, fingerprint = open_adaptation(tmp_path / "a")
    assert fingerprint == model.backend.fingerprint
    request = [ScoreRequest(Rendered(text="Input: a\nLabel:"), LABELS)]
    assert (
        backends["llama"].score(request, again)[0].logprobs
        == backends["llama"].score(request, adaptation)[0].logprobs
    )
    import peft

    config = peft.PeftConfig.from_pretrained(tmp_path / "a" / "adapter")
    assert config.r == 2
