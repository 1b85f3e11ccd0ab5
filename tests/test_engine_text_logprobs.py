"""The log-probability of every token of a text: equal to a plain forward pass."""

from __future__ import annotations

import math

import pytest
import torch

from luthier.errors import BackendError, CapabilityError
from luthier.models.adaptation import Adaptation, VirtualTokens
from tests import tiny
from tests.test_engine_trees import prefix
from tests.test_models_local import lora

DECODERS = tuple(f for f in tiny.FAMILIES if f not in ("t5", "bart"))
TEXTS = ("my card was charged twice", "", "x", "naïve 🙂 text\n with  spaces ", "parcel " * 30)
CLOSE = {"rel": 1e-4, "abs": 2e-4}


@pytest.fixture(scope="module")
def backends():
    return {family: tiny.backend(family) for family in tiny.FAMILIES}


def by_hand(backend, text: str, adaptation: Adaptation) -> list[list[float | None]]:
    """For each vote, log p of the text's own tokens, one text a pass."""
    votes = []
    with backend.session(adaptation) as session, torch.inference_mode():
        own = session.tokenizer(text, add_special_tokens=False).input_ids
        whole = session.tokenizer(text).input_ids
        before = whole[: len(whole) - len(own)]
        for vote in range(session.votes):
            row = session.insert_virtual([*before, *own], len(before), vote=vote)
            if not row:
                votes.append([])
                continue
            cache, past = session.prefix_cache(1), session.prefix_length
            logits = session.module(
                inputs_embeds=session.embed(torch.tensor([row])),
                attention_mask=torch.ones(1, past + len(row), dtype=torch.long),
                position_ids=torch.arange(past, past + len(row))[None],
                past_key_values=cache,
                use_cache=cache is not None,
            ).logits[0]
            logs = logits.float().log_softmax(-1)
            values: list[float | None] = [None]
            values += [
                float(logs[i, t]) if t < session.vocabulary else None for i, t in enumerate(row[1:])
            ]
            votes.append(values[len(row) - len(own) :])
    return votes


def check(backend, adaptation: Adaptation) -> None:
    found = backend.text_logprobs(TEXTS, adaptation)
    for text, scored in zip(TEXTS, found, strict=True):
        assert "".join(scored.tokens) == text
        (expected,) = by_hand(backend, text, adaptation)
        assert len(scored.tokens) == len(expected)
        assert [v is None for v in scored.logprobs] == [v is None for v in expected]
        assert [v or 0.0 for v in scored.logprobs] == pytest.approx(
            [v or 0.0 for v in expected], **CLOSE
        )


@pytest.mark.parametrize("family", DECODERS)
def test_every_token_as_in_a_pass_of_its_own(backends, family):
    check(backends[family], Adaptation())


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3"])
@pytest.mark.parametrize("placement", ["before", "after"])
def test_after_virtual_tokens(backends, family, placement):
    soft = VirtualTokens(torch.randn(1, 4, 32, generator=torch.manual_seed(1)), placement)
    check(backends[family], Adaptation(soft_prompt=soft))


@pytest.mark.parametrize("family", ["llama", "opt"])
def test_under_a_prefix_adapter(backends, family):
    check(backends[family], prefix(family))


def test_under_lora(backends):
    check(backends["llama"], Adaptation(adapter=lora()))


@pytest.mark.parametrize("virtual", [False, True])
def test_an_encoder_decoder_after_an_empty_prompt(backends, virtual):
    backend = backends["t5"]
    soft = VirtualTokens(torch.randn(1, 4, 32, generator=torch.manual_seed(1)))
    adaptation = Adaptation(soft_prompt=soft if virtual else None)
    found = backend.text_logprobs(TEXTS, adaptation)
    for text, scored in zip(TEXTS, found, strict=True):
        assert "".join(scored.tokens) == text
        ids = backend.tokenizer(text, add_special_tokens=False).input_ids
        assert len(scored.tokens) == len(ids)
        if not ids:
            continue
        with backend.session(adaptation) as session, torch.inference_mode():
            prompt = session.insert_virtual(session.tokenizer("").input_ids, 1)
            logits = session.module(
                inputs_embeds=session.embed(torch.tensor([prompt])), labels=torch.tensor([ids])
            ).logits[0]
        logs = logits.float().log_softmax(-1)
        assert scored.logprobs == pytest.approx(
            [float(logs[i, t]) for i, t in enumerate(ids)], **CLOSE
        )


def test_nano():
    import luthier

    check(luthier.load("nano").backend, Adaptation())


def test_only_what_has_nothing_before_it_is_none(backends):
    bos, none = (backends[f].text_logprobs(["x y"], Adaptation())[0] for f in ("llama", "gpt2"))
    assert None not in bos.logprobs
    assert none.logprobs[0] is None
    assert None not in none.logprobs[1:]


def test_votes_average_the_probabilities_of_the_text(backends):
    soft = VirtualTokens(torch.randn(3, 4, 32, generator=torch.manual_seed(2)))
    adaptation = Adaptation(soft_prompt=soft)
    for text in (TEXTS[0], TEXTS[3]):
        (scored,) = backends["llama"].text_logprobs([text], adaptation)
        votes = by_hand(backends["llama"], text, adaptation)
        for n in (1, 2, len(scored.logprobs)):
            sums = torch.tensor([vote[:n] for vote in votes], dtype=torch.float64).sum(1)
            mean = float(sums.logsumexp(0)) - math.log(3)
            assert sum(scored.logprobs[:n]) == pytest.approx(mean, **CLOSE)


def test_short_memory_halves_batches_and_changes_nothing(backends, monkeypatch):
    backend = backends["llama"]
    expected = backend.text_logprobs(TEXTS, Adaptation())
    forward, rows = backend.module.forward, []

    def tight(**given):
        rows.append(len(given["inputs_embeds"]))
        if rows[-1] > 2:
            raise torch.OutOfMemoryError("out of memory")
        return forward(**given)

    monkeypatch.setattr(backend.module, "forward", tight)
    for found, scored in zip(backend.text_logprobs(TEXTS, Adaptation()), expected, strict=True):
        assert found.logprobs == pytest.approx(scored.logprobs, **CLOSE)
    assert max(rows) > 2

    def full(**_):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(backend.module, "forward", full)
    with pytest.raises(BackendError, match=r"A text of .* does not fit"):
        backend.text_logprobs(TEXTS, Adaptation())


def test_no_text_and_one_that_is_too_long(backends):
    with pytest.raises(CapabilityError, match="longer than the context"):
        backends["llama"].text_logprobs(["x y " * 400], Adaptation())
    assert backends["llama"].text_logprobs([], Adaptation()) == []
