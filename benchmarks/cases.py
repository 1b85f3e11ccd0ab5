"""What the jobs run on: model shapes with random weights, and texts of an exact token count.

Nothing is downloaded: the 135M shape is built from a config and reads nano's tokenizer, whose ids
all lie within its larger table.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

import luthier
from luthier.engine import LocalBackend, matmul_precision
from luthier.models.backend import ScoreRequest
from luthier.models.prompt import Rendered

LLAMA_135M = {
    "hidden_size": 576,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "intermediate_size": 1536,
    "vocab_size": 49152,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
}


@cache
def nano() -> LocalBackend:
    """The model that ships, opened once."""
    backend = luthier.load("nano").backend
    assert isinstance(backend, LocalBackend)
    return backend


@cache
def llama_135m() -> LocalBackend:
    """Random weights, for both sides in the number format that this machine multiplies faster."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    tokenizer = nano().tokenizer
    config = LlamaConfig(
        **LLAMA_135M,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    module = LlamaForCausalLM(config).to(getattr(torch, matmul_precision().format))
    return LocalBackend(module, tokenizer, name="llama-135m-random", fingerprint="random-0")


@cache
def words(tokenizer: Any) -> tuple[str, ...]:
    """Texts such as " paper" that are one token wherever they stand after another."""
    found = []
    for i in range(len(tokenizer)):
        text = tokenizer.decode([i])
        if text[:1] == " " and text[1:].isalpha() and text.isascii() and text[1:].islower():
            found.append(text)
    return tuple(w for w in found if len(tokenizer(w + w, add_special_tokens=False).input_ids) == 2)


@dataclass(frozen=True)
class Classification:
    """A labelling job in tokens: every input stands behind the same `shared` tokens."""

    shared: int
    inputs: int
    input_tokens: int
    labels: int
    label_tokens: int = 3

    def requests(self, tokenizer: Any, *, seed: int) -> list[ScoreRequest]:
        """One request an input; prompts and labels are texts that tokenise to the stated counts."""
        chooser = random.Random(seed)
        vocabulary = words(tokenizer)

        def text(n: int) -> str:
            return "".join(chooser.choices(vocabulary, k=n))

        special = len(tokenizer("").input_ids)
        head = text(max(0, self.shared - special))
        labels = tuple(text(self.label_tokens) for _ in range(self.labels))
        return [
            ScoreRequest(Rendered(text=head + text(self.input_tokens)), labels)
            for _ in range(self.inputs)
        ]

    @property
    def distinct_tokens(self) -> int:
        """Tokens that differ in what stands before them: the least that can be computed. The last
        token of a label is only ever predicted."""
        tail = self.labels * (self.label_tokens - 1)
        return self.shared + self.inputs * (self.input_tokens + tail)

    @property
    def full_tokens(self) -> int:
        """What scoring every joined text on its own computes."""
        row = self.shared + self.input_tokens + self.label_tokens - 1
        return self.inputs * self.labels * row
