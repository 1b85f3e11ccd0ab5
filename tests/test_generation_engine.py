"""Generation: the same tokens as transformers' own, whatever the company, each prefix once."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from luthier.engine.generation import decode_loop
from luthier.engine.generation.decode_loop import compacted
from luthier.engine.generation.decoder_batch import DecoderBatch
from luthier.errors import BackendError
from luthier.models.adaptation import Adaptation, Decoding, VirtualTokens
from luthier.models.backend import GenerateRequest
from luthier.models.prompt import Rendered
from tests import tiny
from tests.test_models_local import lora

SHARED = "Route the message to one queue.\n\nInput: my card was charged twice\nLabel: billing\n\n"
INPUTS = ("a", "where is my parcel", "x y z" * 5, "", "where is my parcel", "the quick brown fox")
FREE = Decoding(max_new_tokens=14, stop=())


@pytest.fixture(scope="module")
def backends():
    return {family: tiny.backend(family) for family in tiny.FAMILIES}


def requests(head: str = SHARED) -> list[GenerateRequest]:
    return [GenerateRequest(Rendered(text=f"{head}Input: {i}\nLabel:")) for i in INPUTS]


def transformers_text(backend, adaptation: Adaptation, request: GenerateRequest) -> str:
    """What transformers' own generation says, alone in its batch."""
    with backend.session(adaptation) as session, torch.inference_mode():
        prompt = session.encode(request.prompt)
        ids = torch.tensor([session.insert_virtual(prompt, len(prompt))])
        given = {"attention_mask": torch.ones_like(ids), "do_sample": False, "pad_token_id": 0}
        given["max_new_tokens"] = adaptation.decoding.max_new_tokens
        if session.encoder_decoder:
            out = session.module.generate(inputs_embeds=session.embed(ids), **given)[0, 1:]
        elif session.soft is not None:
            out = session.module.generate(inputs_embeds=session.embed(ids), **given)[0]
        else:
            runner = session.peft or session.module
            out = runner.generate(input_ids=ids, **given)[0, ids.shape[1] :]
        return session.tokenizer.decode(out, skip_special_tokens=True).strip()


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("head", [SHARED, ""])
def test_greedy_text_is_that_of_transformers(backends, family, head):
    adaptation = Adaptation(decoding=FREE)
    made = backends[family].generate(requests(head), adaptation)
    expected = [transformers_text(backends[family], adaptation, r) for r in requests(head)]
    assert [g.text for g in made] == expected
    assert len(set(expected)) > 1


@pytest.mark.parametrize("placement", ["before", "after"])
def test_with_adaptations_too(backends, placement):
    backend = backends["llama"]
    soft = VirtualTokens(torch.randn(1, 4, 32, generator=torch.manual_seed(1)), placement)
    for slots in ({"soft_prompt": soft}, {"adapter": lora()}):
        adaptation = Adaptation(decoding=FREE, **slots)
        made = [g.text for g in backend.generate(requests(), adaptation)]
        assert made == [transformers_text(backend, adaptation, r) for r in requests()]


def test_nano_too():
    import luthier

    backend = luthier.load("nano").backend
    adaptation = Adaptation(decoding=replace(FREE, max_new_tokens=8))
    made = backend.generate(requests()[:3], adaptation)
    assert [g.text for g in made] == [
        transformers_text(backend, adaptation, r) for r in requests()[:3]
    ]


@pytest.mark.parametrize("family", ["llama", "gemma3", "t5"])
def test_rows_leave_and_others_come_in(backends, family, monkeypatch):
    """Three slots for six answers of different lengths, and the texts stay what they were."""
    backend, adaptation = backends[family], Adaptation(decoding=FREE)
    lengths = (3, 14, 1, 9, 2, 5)
    asked = [
        replace(r, decoding=replace(FREE, max_new_tokens=n))
        for r, n in zip(requests(), lengths, strict=True)
    ]
    alone = [backend.generate([r], adaptation)[0].text for r in asked]
    monkeypatch.setattr("luthier.engine.generation.generate.MOST_ROWS", 3)
    monkeypatch.setattr(decode_loop, "JOIN_AT", 3)
    together = backend.generate(asked, adaptation)
    assert [g.text for g in together] == alone
    assert [g.usage.generated_tokens for g in together] == list(lengths)


def test_what_prompts_share_is_computed_once(backends):
    backend, adaptation = backends["llama"], Adaptation(decoding=replace(FREE, max_new_tokens=2))
    made = backend.generate(requests(), adaptation)
    prompts = sum(g.usage.prompt_tokens for g in made)
    computed = sum(g.usage.computed_tokens for g in made)
    shared = backend.count_tokens(SHARED)
    assert len(set(INPUTS)) == 5
    assert computed < prompts - 5 * shared + sum(g.usage.generated_tokens for g in made)
    # Equal prompts are one: asking twice costs one more step (the last token is not fed back).
    twice = backend.generate(requests()[:1] * 2, adaptation)
    once = backend.generate(requests()[:1], adaptation)[0].usage
    assert sum(g.usage.computed_tokens for g in twice) == once.computed_tokens + 1


def test_an_answer_ends_at_a_stop_string_and_costs_no_more(backends):
    backend = backends["llama"]
    free = backend.generate(requests(), Adaptation(decoding=FREE))
    text = max((g.text for g in free), key=len)
    which = [g.text for g in free].index(text)
    mark = text[3:5]
    made = backend.generate(requests(), Adaptation(decoding=replace(FREE, stop=(mark,))))[which]
    assert made.text == text.split(mark)[0].strip()
    assert made.usage.generated_tokens < free[which].usage.generated_tokens
    assert not made.cut
    assert free[which].cut


def test_a_soft_prompt_and_a_prefix_adapter_write_together(backends):
    from luthier.models.adaptation import Adapter

    config = {
        "peft_type": "PREFIX_TUNING", "task_type": "CAUSAL_LM", "num_virtual_tokens": 5,
        "num_layers": 3, "token_dim": 16, "num_attention_heads": 2,
        "num_transformer_submodules": 1, "base_model_name_or_path": None,
    }  # fmt: skip
    weight = torch.randn(5, 3 * 2 * 16, generator=torch.manual_seed(4))
    prefix = Adapter(config, {"prompt_embeddings": weight})
    soft = VirtualTokens(torch.randn(1, 4, 32, generator=torch.manual_seed(1)))
    backend = backends["llama"]
    for slots in ({}, {"soft_prompt": soft}):
        adaptation = Adaptation(decoding=FREE, adapter=prefix, **slots)
        together = [g.text for g in backend.generate(requests(), adaptation)]
        assert together == [backend.generate([r], adaptation)[0].text for r in requests()]
        bare = backend.generate(requests(), Adaptation(decoding=FREE, **slots))
        assert together != [g.text for g in bare]


def test_soft_prompts_that_vote_write_as_their_mean_scores(backends):
    """The first token under three votes is the argmax of their mean probability."""
    from luthier.models.backend import ScoreRequest

    backend = backends["llama"]
    three = VirtualTokens(torch.randn(3, 4, 32, generator=torch.manual_seed(1)))
    adaptation = Adaptation(decoding=replace(FREE, max_new_tokens=1), soft_prompt=three)
    letters = tuple("abcdefghijklmnopqrstuvwxyz0123456789")
    seen = 0
    for request in requests():
        text = backend.generate([request], adaptation)[0].text
        scored = backend.score([ScoreRequest(request.prompt, letters)], adaptation)[0]
        if text in letters:
            seen += 1
            assert text == letters[max(range(36), key=lambda k: scored.logprobs[k])]
    longer = replace(adaptation, decoding=FREE)
    together = [g.text for g in backend.generate(requests(), longer)]
    assert together == [backend.generate([r], longer)[0].text for r in requests()]
    assert seen or len(set(together)) > 1


def test_a_long_prompt_is_cut_and_an_answer_never_passes_the_context(backends):
    long = GenerateRequest(Rendered(text="Input: " + "delivery " * 900 + "\nLabel:"))
    greedy = Adaptation(decoding=Decoding(max_new_tokens=100_000, stop=()))
    made = backends["gpt2"].generate([long, requests()[0]], greedy)
    limit = 512
    assert [g.usage.truncated for g in made] == [1, 0]
    assert all(g.usage.prompt_tokens + g.usage.generated_tokens <= limit for g in made)
    assert made[0].usage.prompt_tokens == limit // 2
    assert made[0].cut


# On a CPU the error has no type of its own.
TIGHT = (torch.OutOfMemoryError("no room"), RuntimeError("DefaultCPUAllocator: not enough memory"))


@pytest.mark.parametrize("error", TIGHT)
def test_out_of_memory_means_smaller_company_not_failure(backends, monkeypatch, error):
    backend, adaptation = backends["llama"], Adaptation(decoding=FREE)
    expected = [g.text for g in backend.generate(requests(), adaptation)]
    step, refused = DecoderBatch.step, []

    def tight(self, tokens):
        if len(tokens) > 2:
            refused.append(len(tokens))
            raise error
        return step(self, tokens)

    monkeypatch.setattr(DecoderBatch, "step", tight)
    assert [g.text for g in backend.generate(requests(), adaptation)] == expected
    assert refused


def test_where_not_even_one_answer_fits(backends, monkeypatch):
    def full(self, tokens):
        raise MemoryError

    monkeypatch.setattr(DecoderBatch, "step", full)
    with pytest.raises(BackendError, match="memory"):
        backends["llama"].generate(requests(), Adaptation(decoding=FREE))


def test_fewer_write_at_once_where_memory_is_short(backends, monkeypatch):
    backend, adaptation = backends["llama"], Adaptation(decoding=FREE)
    expected = [g.text for g in backend.generate(requests(), adaptation)]
    step, rows = DecoderBatch.step, []

    def seen(self, tokens):
        rows.append(len(tokens))
        return step(self, tokens)

    monkeypatch.setattr(DecoderBatch, "step", seen)
    monkeypatch.setenv("LUTHIER_MEMORY", "200K")
    assert [g.text for g in backend.generate(requests(), adaptation)] == expected
    assert max(rows) < len(INPUTS)


def test_the_plain_engine_gives_the_same_text(backends, monkeypatch):
    decoding = Decoding(max_new_tokens=12)
    for family in ("llama", "t5"):
        made = backends[family].generate(requests(), Adaptation(decoding=decoding))
        with monkeypatch.context() as patch:
            patch.setenv("LUTHIER_ENGINE", "plain")
            plain = backends[family].generate(requests(), Adaptation(decoding=decoding))
        assert [g.text for g in plain] == [g.text for g in made]


@pytest.mark.parametrize(
    ("stay", "order"), [([0, 1], [0, 1]), ([1, 3], [3, 1]), ([], []), ([0, 2, 4, 5], [0, 5, 2, 4])]
)
def test_rows_that_stay_move_as_little_as_possible(stay, order):
    assert compacted(stay) == order
    assert sorted(order) == stay
