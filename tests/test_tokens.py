"""Tokenising only what differs gives the ids that tokenising the whole text gives."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

import luthier
from luthier.engine import tokenization as module
from luthier.engine.tokenization import retokenize, tokenize

# fmt: off
WORDS = [
    "the", "card", "was", "swallowed", "by", "machine", "refund,", "please!", "naïve", "Zürich",
    "12", "1234567", "3.5%", "don't", "I've", "(see)", "https://a.b/c?d=e", "你好世界", "привет",
    "мир", "word-for-word", "...", "x", "y",
]
# fmt: on
LETTERS = " \n\tabcdefXYZ0123456789.,'!?-_äß你好é̂🙂<>|▁"


def corpus() -> list[str]:
    chooser = random.Random(0)
    return [" ".join(chooser.choices(WORDS, k=20)) for _ in range(300)]


@cache
def tokenizer(kind: str) -> Any:
    """Trained here, one of each way that tokenizers look at a text."""
    if kind == "nano":
        return luthier.load("nano").backend.tokenizer  # type: ignore[attr-defined]
    bos = "<s>"
    trained = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=["<unk>", bos, "</s>", "<|user|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet() if "byte" in kind else [],
        show_progress=False,
    )
    made = Tokenizer(models.BPE(unk_token=None if "byte" in kind else "<unk>"))
    if kind == "byte-level":
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        made.post_processor = processors.ByteLevel(trim_offsets=True)
    elif kind == "byte-level, numbers from the right":
        digits = Regex(r"\d{1,3}(?=(\d{3})*\b)| ?\w+| ?[^\s\w]+|\s+(?!\S)|\s+")
        made.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(digits, "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        made.post_processor = processors.ByteLevel(trim_offsets=False)
    elif kind == "sentencepiece bpe":
        made.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
    elif kind == "unigram":
        made = Tokenizer(models.Unigram())
        made.normalizer = normalizers.NFKC()
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        trained = trainers.UnigramTrainer(
            vocab_size=300, unk_token="<unk>", special_tokens=["<unk>", bos, "</s>", "<|user|>"],
            show_progress=False,
        )  # fmt: skip
    elif kind == "wordpiece":
        made = Tokenizer(models.WordPiece(unk_token="<unk>"))
        made.normalizer = normalizers.BertNormalizer(lowercase=True)
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trained = trainers.WordPieceTrainer(
            vocab_size=300, special_tokens=["<unk>", bos, "</s>", "<|user|>"], show_progress=False
        )
    made.train_from_iterator(corpus(), trained)
    if "byte" not in kind:
        made.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A </s>", special_tokens=[(bos, 1), ("</s>", 2)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token=bos, eos_token="</s>", unk_token="<unk>",
        additional_special_tokens=["<|user|>"],
    )  # fmt: skip


KINDS = (
    "nano", "byte-level", "byte-level, numbers from the right", "sentencepiece bpe", "unigram",
    "wordpiece",
)  # fmt: skip
texts = st.lists(
    st.one_of(
        st.sampled_from([w + " " for w in WORDS]),
        st.sampled_from([" ", "\n", "\n\n", "    ", "<|user|>", "\n    x = 1\n", "1234567890" * 9]),
        st.text(LETTERS, max_size=12),
    ),
    max_size=60,
).map("".join)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=120, deadline=None)
@given(begins=texts, one=texts, other=texts, special=st.booleans(), repeats=st.integers(1, 4))
def test_a_continued_text_has_the_ids_of_the_whole(
    kind: str, begins: str, one: str, other: str, special: bool, repeats: int
) -> None:
    known_as = tokenizer(kind)
    begins *= repeats
    known, whole = tokenize(known_as, [begins + one, begins + other], special=special)
    found, same = retokenize(known_as, known, [begins + other, begins + one], special=special)
    assert same is known or same == known
    assert found.ids == whole.ids
    assert found.spans == whole.spans
    assert found.ids[: found.kept] == known.ids[: found.kept]
    # And from there back: what was joined serves as well as what was not.
    (back,) = retokenize(known_as, found, [begins + one], special=special)
    assert back.ids == known.ids


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_differs_is_tokenised(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known_as = tokenizer(kind)
    begins = " ".join(corpus()[:40])
    (known,) = tokenize(known_as, [begins + "\n\nText: one"], special=True)
    asked: list[int] = []

    def counting(tokenizer: Any, texts: Sequence[str], *, special: bool) -> Any:
        asked.extend(map(len, texts))
        return tokenize(tokenizer, texts, special=special)

    monkeypatch.setattr(module, "tokenize", counting)
    (found,) = retokenize(known_as, known, [begins + "\n\nText: other"], special=True)
    assert sum(asked) < 2 * module.OVERLAP
    assert found.kept > 0.9 * len(found.ids)


def test_one_long_word_is_tokenised_whole() -> None:
    known_as = tokenizer("byte-level, numbers from the right")
    digits = "7" * 1000
    known, whole = tokenize(known_as, [digits, digits + "8"], special=True)
    (found,) = retokenize(known_as, known, [digits + "8"], special=True)
    assert found.kept == 0
    assert found.ids == whole.ids
