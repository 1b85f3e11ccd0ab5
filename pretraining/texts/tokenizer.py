"""Train the byte-level BPE tokenizer and dress it for transformers.

Every newline and every digit is a token of its own, so an answer always ends in the same token and
numbers are copied digit by digit. Bytes outside the vocabulary fall back to byte tokens.
"""

from __future__ import annotations

import random
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from pretraining.episodes.formats import FIELDS, INSTRUCTIONS, LISTS
from pretraining.texts import corpus

PAD, BOS, EOS, END = "<|pad|>", "<|bos|>", "<|eos|>", "<|end|>"
ROLES = ("system", "user", "assistant", "tool")
SPECIAL = [PAD, BOS, EOS, END, *(f"<|{role}|>" for role in ROLES)]
CHAT_TEMPLATE = (
    "{{ '<|bos|>' }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)


def sample(out: Path, seed: int) -> list[str]:
    """The text the vocabulary is counted on: about 25 MB of all pools."""
    draw = random.Random(seed)
    texts = [r["text"] for r in corpus.read(out / "texts.jsonl")]
    documents = [r["text"] for r in corpus.read(out / "documents.jsonl")[:8000]]
    prompts = corpus.read(out / "t0.jsonl")
    picked = draw.sample(prompts, min(9000, len(prompts)))
    layout = [f"{x}: {y}:\n{x.lower()} {y.lower()} {y}s" for x, y in FIELDS] + INSTRUCTIONS + LISTS
    labels = [
        "positive, negative, neutral",
        "Positive Negative Neutral",
        "true false yes no Yes No",
    ]
    return (
        (layout + labels) * 1500
        + texts * 2
        + documents
        + [r["prompt"][:1500] + "\n" + r["completion"] for r in picked]
    )


def train(out: Path, vocabulary: int = 16384, seed: int = 0) -> PreTrainedTokenizerFast:
    """Train, save to ``out/tokenizer`` and return the tokenizer."""
    raw = Tokenizer(models.BPE(byte_fallback=False))
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\n"), behavior="isolated"),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        max_token_length=16,
    )
    raw.train_from_iterator(sample(out, seed), trainer)
    bos = raw.token_to_id(BOS)
    raw.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, bos)]
            ),
        ]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=2048,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        extra_special_tokens=[END, *(f"<|{role}|>" for role in ROLES)],
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(out / "tokenizer")
    return tokenizer


def load(out: Path) -> PreTrainedTokenizerFast:
    """The tokenizer written by :func:`train`."""
    return PreTrainedTokenizerFast.from_pretrained(out / "tokenizer")
