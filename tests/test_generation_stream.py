"""Streaming: the pieces join to the text of `generate`, stop strings never show, nothing stays
behind."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import tokenizers
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders

from luthier.engine.generation.sequence_state import SequenceState
from luthier.engine.generation.stream import settled_text
from luthier.errors import BackendError
from luthier.models.adaptation import Adaptation, Decoding, VirtualTokens
from luthier.models.backend import GenerateRequest, ScoreRequest
from luthier.models.prompt import Rendered
from tests import tiny
from tests.test_models_local import lora

FREE = Decoding(max_new_tokens=24, stop=())
REQUEST = GenerateRequest(Rendered(text="Input: where is my parcel\nLabel:"))
SCHEMA = '{"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}'


@pytest.fixture(scope="module")
def backends():
    return {family: tiny.backend(family) for family in tiny.FAMILIES}


def streamed(backend, decoding: Decoding, request: GenerateRequest = REQUEST, **slots) -> list[str]:
    """The pieces, once they are known to join to the generated text."""
    adaptation = Adaptation(decoding=decoding, **slots)
    pieces = list(backend.stream(request, adaptation))
    assert "".join(pieces) == backend.generate([request], adaptation)[0].text
    assert all(pieces)
    return pieces


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_pieces_come_token_by_token(backends, family):
    streamed(backends[family], FREE)  # mostly bytes that are no characters
    assert len(streamed(backends[family], replace(FREE, regex="[a-z]{20,40}"))) > 5


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_a_stop_string_is_held_back_from_its_first_character_on(backends, family):
    backend = backends[family]
    text = backend.generate([REQUEST], Adaptation(decoding=FREE))[0].text
    for at, length in ((1, 1), (3, 4), (8, 9), (len(text) - 3, 3)):
        mark = text[at : at + length] or text[:1]
        # The beginning of the mark, with another end, must be let through again.
        stop = (mark + "never", mark)
        pieces = streamed(backend, replace(FREE, stop=stop))
        assert mark not in "".join(pieces)
        assert text.startswith("".join(pieces))
        if "\ufffd" not in mark:  # which may stand for a character that is not whole yet
            assert "".join(pieces) == text[: text.find(mark)].strip()


@pytest.mark.parametrize("family", ["llama", "gemma3", "t5"])
@pytest.mark.parametrize(
    "constraint",
    [{"labels": ("billing", "delivery")}, {"regex": "[a-z]{3,9}"}, {"json_schema": SCHEMA}],
)
def test_under_a_constraint(backends, family, constraint):
    streamed(backends[family], replace(FREE, max_new_tokens=40, **constraint))


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_votes_guidance_samples_and_adapters(backends, family):
    backend = backends[family]
    soft = VirtualTokens(torch.randn(3, 4, 32, generator=torch.manual_seed(1)))
    streamed(backend, FREE, soft_prompt=soft)
    negative = replace(REQUEST, negative=Rendered(text="Say nothing.\nLabel:"))
    streamed(backend, replace(FREE, guidance_scale=2.0), negative)
    streamed(backend, replace(FREE, temperature=1.0), replace(REQUEST, samples=3, seed=5))
    if family == "llama":
        streamed(backend, FREE, adapter=lora())


def test_the_plain_engine_gives_one_piece(backends, monkeypatch):
    monkeypatch.setenv("LUTHIER_ENGINE", "plain")
    assert len(streamed(backends["llama"], FREE)) == 1


def test_other_adaptations_may_run_between_two_pieces(backends):
    backend = backends["llama"]
    adaptation = Adaptation(decoding=FREE, adapter=lora())
    expected = backend.generate([REQUEST], adaptation)[0].text
    assert expected != backend.generate([REQUEST], Adaptation(decoding=FREE))[0].text
    text = ""
    for piece in backend.stream(REQUEST, adaptation):
        text += piece
        backend.generate([REQUEST], Adaptation(decoding=replace(FREE, max_new_tokens=1)))
    assert text == expected


def test_closed_early_it_holds_neither_the_base_nor_its_lock(backends):
    backend = backends["llama"]
    names = set(backend.module.state_dict())
    adaptation = Adaptation(decoding=FREE, adapter=lora())
    pieces = backend.stream(REQUEST, adaptation)
    first = next(pieces)
    scored = []

    def score() -> None:
        scored.extend(backend.score([ScoreRequest(REQUEST.prompt, (" a",))], Adaptation()))

    def close() -> None:
        pieces.close()

    for act in (score, close, score):  # from other threads, while it is open and afterwards
        thread = threading.Thread(target=act, daemon=True)
        thread.start()
        thread.join(60)
        assert not thread.is_alive()
    assert len(scored) == 2
    assert set(backend.module.state_dict()) == names
    assert backend.generate([REQUEST], adaptation)[0].text.startswith(first)


def test_a_single_answer_that_does_not_fit(backends, monkeypatch):
    from luthier.engine.generation.decoder_batch import DecoderBatch

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(DecoderBatch, "step", full)
    with pytest.raises(BackendError, match="does not fit"):
        list(backends["llama"].stream(REQUEST, Adaptation(decoding=FREE)))


def byte_fallback() -> transformers.PreTrainedTokenizerFast:
    """As Llama 2 has it: pieces with ▁ for a space, and single bytes for all else."""
    pieces = ["<pad>", "</s>", "▁", "▁the", "a", "b", "▁b", "\n", "ä"]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    vocabulary |= {f"<0x{b:02X}>": len(pieces) + b for b in range(256)}
    inner = tokenizers.Tokenizer(
        tokenizers.models.BPE(vocab=vocabulary, merges=[], byte_fallback=True)
    )
    inner.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="</s>", pad_token="<pad>"
    )


def cleaning_up() -> transformers.PreTrainedTokenizerFast:
    words = ["<pad>", "</s>", "it", " 's", " '", " .", " b", "n't", " n't", " ", "a", "?", "\n"]
    vocabulary = {word.replace(" ", "▁"): i for i, word in enumerate(words)}
    inner = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=[]))
    inner.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="</s>", pad_token="<pad>",
        clean_up_tokenization_spaces=True,
    )  # fmt: skip


TOKENIZERS = {
    "byte level": tiny.tokenizer(bos=True),
    "byte fallback": byte_fallback(),
    "clean up": cleaning_up(),
}


@pytest.mark.parametrize("kind", sorted(TOKENIZERS))
@settings(max_examples=400, deadline=None)
@given(
    data=st.data(),
    stop=st.lists(st.sampled_from(["\n", "ab", "b a", "\n\n", "é", "aab"]), max_size=2),
)
def test_what_is_settled_is_never_taken_back(kind, data, stop):
    tokenizer = TOKENIZERS[kind]
    ids = st.integers(0, len(tokenizer) - 1)
    if kind == "byte fallback":  # whole characters too, and not single bytes only
        words = ["é", "我们", "🙂", "aab", "\n", " the b"]
        spelled = [tokenizer(w, add_special_tokens=False).input_ids for w in words]
        ids = st.one_of(ids.map(lambda i: [i]), st.sampled_from(spelled))
    else:
        ids = ids.map(lambda i: [i])
    tokens = [i for part in data.draw(st.lists(ids, min_size=1, max_size=12)) for i in part]
    sequence = SequenceState(
        prompts=[[1]], negative_prompts=[], max_tokens=len(tokens),
        ends=(tokenizer.eos_token_id,), stop=tuple(stop),
    )  # fmt: skip
    settled = []
    for token in tokens:
        if not sequence.finished:
            sequence.append(tokenizer, token)
            settled.append("" if sequence.finished else settled_text(tokenizer, sequence))
    for text in settled:
        assert sequence.text.startswith(text)
