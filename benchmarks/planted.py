"""Tiny models that are trained on text that is known to the row."""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from typing import Any

import torch
import transformers

from luthier.engine import LocalBackend
from luthier.engine.base_fingerprint import fingerprint_of
from luthier.models.model import Model

CONTEXT, CHUNK, BATCH, RATE = 512, 128, 8, 3e-3


def tokenizer_of(texts: Sequence[str], vocabulary: int = 1024) -> Any:
    """Byte-level BPE over the texts."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(texts, trainer)
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


def untrained(tokenizer: Any, seed: int, width: int = 48) -> Any:
    """A Llama of two layers with random weights."""
    torch.manual_seed(seed)
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=width, intermediate_size=2 * width,
            num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4,
            max_position_embeddings=CONTEXT, bos_token_id=1, eos_token_id=2, pad_token_id=0,
            tie_word_embeddings=True,
        )
    )  # fmt: skip


def trained(module: Any, tokenizer: Any, texts: Sequence[str], *, epochs: int, seed: int) -> Any:
    """A copy that has read the texts so many times, one behind the other as in a file."""
    module = copy.deepcopy(module).train().requires_grad_(True)
    ids = tokenizer("\n".join(texts)).input_ids
    chunks = [ids[n : n + CHUNK] for n in range(0, len(ids), CHUNK)]
    draw = random.Random(seed)
    optimiser = torch.optim.AdamW(module.parameters(), lr=RATE, weight_decay=0.01)
    for _ in range(epochs):
        draw.shuffle(chunks)
        for start in range(0, len(chunks), BATCH):
            some = chunks[start : start + BATCH]
            width = max(map(len, some))
            rows = torch.tensor([[*c, *[0] * (width - len(c))] for c in some])
            labels = rows.masked_fill(rows == 0, -100)
            module(input_ids=rows, attention_mask=(rows != 0).long(), labels=labels).loss.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
    return module.eval()


def model_of(module: Any, tokenizer: Any, name: str) -> Model:
    """The module as a model of Luthier."""
    return Model(LocalBackend(module, tokenizer, name=name, fingerprint=fingerprint_of(module)))
