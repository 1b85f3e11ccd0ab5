"""The tokenizer: one token a word of the small language, pieces for all else."""

from __future__ import annotations

from pathlib import Path

from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from pretraining.scenes import pool

LENGTH = 32  # tokens of a caption, begin and end counted
FOLDER = "tokenizer"
START, END = "<|startoftext|>", "<|endoftext|>"


def build(out: Path) -> PreTrainedTokenizerFast:
    """Learn the pieces from the captions, once."""
    folder = out / FOLDER
    if folder.exists():
        return PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer = Tokenizer(models.BPE(unk_token=END, end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()]
    )
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    alphabet = [chr(c) for c in range(33, 127)]
    trainer = trainers.BpeTrainer(
        vocab_size=1024, special_tokens=[START, END], initial_alphabet=alphabet,
        end_of_word_suffix="</w>", show_progress=False,
    )  # fmt: skip
    # Crescent and checked are words of the language that no scene of the pool shows.
    tokenizer.train_from_iterator([*pool.captions(out), *["a checked crescent"] * 50], trainer)
    start, end = tokenizer.token_to_id(START), tokenizer.token_to_id(END)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, start), (END, end)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=START, eos_token=END, pad_token=END, unk_token=END,
        model_max_length=LENGTH,
    )  # fmt: skip
    fast.save_pretrained(folder)
    return fast


def padded(tokenizer: PreTrainedTokenizerFast, captions: list[str]) -> list[list[int]]:
    """The token ids of captions, all of one length."""
    found: list[list[int]] = tokenizer(
        captions, padding="max_length", max_length=LENGTH, truncation=True
    )["input_ids"]
    return found
