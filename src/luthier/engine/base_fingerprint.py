"""What identifies a base: its weights, its tokenizer and its chat template, and nothing else.

The number format that it was loaded in, the names that a library gives to its layers, its folder
and the version of a library do not change what a base is.
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch

PROBE = (
    "The quick brown fox, 1234567 times: don't stop! e=mc^2 (naïve café)\n\tif x != y: 'ok'  "
    "Übergröße 你好世界 こんにちは 안녕하세요 Привет мир مرحبا नमस्ते 🙂👍🏽 ﬁ ½ A\u0301"
)


def fingerprint_of(module: Any, tokenizer: Any = None) -> str:
    """sha256 over every weight, rounded to bfloat16, the tokenizer and its chat template.

    Weights that are tied count once, and in no order: names and ties differ between versions of
    Transformers. A change below the precision of bfloat16 alone is not seen.
    """
    digest = hashlib.sha256()
    for each in sorted({_tensor_digest(p) for p in module.parameters()}):
        digest.update(each)
    if tokenizer is not None:
        digest.update(_tokenizer_digest(tokenizer))
    return digest.hexdigest()


def _tensor_digest(tensor: torch.Tensor) -> bytes:
    flat = tensor.detach().to(torch.bfloat16).cpu().contiguous().view(torch.int16)
    digest = hashlib.sha256(repr(tuple(tensor.shape)).encode())
    digest.update(flat.numpy().tobytes())
    return digest.digest()


def _tokenizer_digest(tokenizer: Any) -> bytes:
    """Over the vocabulary, how a text of many scripts is cut, special tokens and the template."""
    template = getattr(tokenizer, "chat_template", None)
    known = (
        sorted(tokenizer.get_vocab().items()),
        list(tokenizer(PROBE).input_ids),
        (tokenizer.bos_token, tokenizer.eos_token, tokenizer.unk_token),
        sorted(template.items()) if isinstance(template, dict) else template,
    )
    return hashlib.sha256(repr(known).encode()).digest()
