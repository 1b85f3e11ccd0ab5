"""Tiny models with random weights, one for each architecture family, and a tokenizer for them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import transformers

from luthier.engine import LocalBackend
from luthier.engine.base_fingerprint import fingerprint_of
from luthier.models.model import Model

TEXT = [
    "Input: where is my parcel, it was due on Monday\nLabel: delivery",
    "Input: please give me my money back\nLabel: refunds-and-returns",
    "the quick brown fox jumps over the lazy dog 0123456789 billing technical fault account access",
]
FAMILIES = ("llama", "gpt2", "opt", "qwen3", "gemma2", "gemma3", "mistral", "t5", "bart")


@lru_cache
def tokenizer(*, bos: bool, eos: bool = False) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    inner.train_from_iterator(TEXT * 4, trainer)
    if bos:
        inner.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", 1)]
        )
    if eos:
        inner.post_processor = processors.TemplateProcessing(
            single="$A </s>", special_tokens=[("</s>", 2)]
        )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


def config(family: str) -> Any:
    shape: dict[str, Any] = {
        "vocab_size": 320,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    if family == "llama":
        return transformers.LlamaConfig(**shape)
    if family == "mistral":
        return transformers.MistralConfig(**shape, sliding_window=9)
    if family == "qwen3":
        return transformers.Qwen3Config(**shape, head_dim=8)
    if family == "gemma2":
        return transformers.Gemma2Config(**shape, head_dim=8, sliding_window=9)
    if family == "gemma3":
        return transformers.Gemma3TextConfig(**shape, head_dim=8, sliding_window=9)
    if family == "opt":  # norms after the blocks, learned positions two rows on, biases everywhere
        return transformers.OPTConfig(
            vocab_size=320, hidden_size=32, word_embed_proj_dim=32, ffn_dim=48, num_hidden_layers=3,
            num_attention_heads=4, max_position_embeddings=512, do_layer_norm_before=False,
            activation_function="gelu", bos_token_id=1, eos_token_id=2, pad_token_id=0,
        )  # fmt: skip
    if family == "gpt2":
        return transformers.GPT2Config(
            vocab_size=320, n_embd=32, n_layer=3, n_head=4, n_positions=512,
            bos_token_id=1, eos_token_id=2, pad_token_id=0,
        )  # fmt: skip
    if family == "bart":  # learned positions, which the decoder counts itself
        return transformers.BartConfig(
            vocab_size=320, d_model=32, encoder_layers=2, decoder_layers=2, encoder_ffn_dim=48,
            decoder_ffn_dim=48, encoder_attention_heads=4, decoder_attention_heads=4,
            max_position_embeddings=512, dropout=0.0, attention_dropout=0.0, bos_token_id=1,
            eos_token_id=2, pad_token_id=0, decoder_start_token_id=2, forced_eos_token_id=None,
        )  # fmt: skip
    return transformers.T5Config(
        vocab_size=320, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4,
        decoder_start_token_id=0, eos_token_id=2, pad_token_id=0, feed_forward_proj="gated-gelu",
    )  # fmt: skip


def backend(family: str, seed: int = 0) -> LocalBackend:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = config(family)
        auto = (
            transformers.AutoModelForSeq2SeqLM
            if made.is_encoder_decoder
            else transformers.AutoModelForCausalLM
        )
        module = auto.from_config(made, dtype=torch.float32)
        # Random initial weights are so small that all logits look alike; make them differ.
        for parameter in module.parameters():
            if parameter.dim() > 1:
                parameter.data.normal_(0.0, 0.15)
    words = tokenizer(bos=family not in ("gpt2", "t5", "bart"), eos=family in ("t5", "bart"))
    return LocalBackend(module, words, name=f"tiny-{family}", fingerprint=fingerprint_of(module))


def model(family: str, seed: int = 0) -> Model:
    return Model(backend(family, seed))
