"""BERT in numpy, for one text at a time: a question is embedded before torch would be loaded.

Torch and Transformers take seconds to import, which is most of what one search costs. The numbers
are those of Transformers' BertModel but for rounding (BERT: Devlin et al. 2019, arXiv:1810.04805;
mean pooling: Reimers and Gurevych 2019, arXiv:1908.10084).
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
EPSILON = np.float32(1e-12)


class NumpyBert:
    """A BERT encoder with its tokenizer, read from a folder. `longest` counts tokens."""

    def __init__(self, folder: Path, *, longest: int) -> None:
        from safetensors import safe_open
        from tokenizers import Tokenizer

        config = json.loads((folder / "config.json").read_text("utf-8"))
        self.heads, self.layers = config["num_attention_heads"], config["num_hidden_layers"]
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(longest)
        opened = safe_open(str(folder / "model.safetensors"), framework="numpy")
        self._file = cast(Any, opened)
        # The vocabulary is half of the weights; a question needs a few of its rows.
        self._words: Any = self._file.get_slice("embeddings.word_embeddings.weight")
        self._weights = {
            name: self._file.get_tensor(name)
            for name in self._file.keys()  # noqa: SIM118 - a file is no mapping
            if not name.startswith("embeddings.word_embeddings") and "pooler" not in name
        }

    def embed(self, text: str) -> Array:
        """(H,): the mean of the last states, of length 1."""
        states = self._embeddings(self.tokenizer.encode(text).ids)
        for layer in range(self.layers):
            states = self._layer(states, f"encoder.layer.{layer}")
        mean = states.mean(0)
        unit: Array = mean / np.linalg.norm(mean)
        return unit

    def _embeddings(self, ids: list[int]) -> Array:
        words = np.concatenate([self._words[i : i + 1] for i in ids])
        places = self._weights["embeddings.position_embeddings.weight"][: len(ids)]
        kind = self._weights["embeddings.token_type_embeddings.weight"][0]
        return self._norm(words + places + kind, "embeddings.LayerNorm")

    def _layer(self, x: Array, name: str) -> Array:
        """Attention, then the two-layer network, each added to its input and normalised."""
        length, width = x.shape
        q, k, v = (
            self._linear(x, f"{name}.attention.self.{part}")
            .reshape(length, self.heads, -1)
            .transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        scores = q @ k.transpose(0, 2, 1) / np.float32(np.sqrt(width // self.heads))
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        mixed = (weights @ v).transpose(1, 0, 2).reshape(length, width)
        mixed = self._linear(mixed, f"{name}.attention.output.dense")
        x = self._norm(x + mixed, f"{name}.attention.output.LayerNorm")
        inner = _gelu(self._linear(x, f"{name}.intermediate.dense"))
        return self._norm(
            x + self._linear(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm"
        )

    def _linear(self, x: Array, name: str) -> Array:
        out: Array = x @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]
        return out

    def _norm(self, x: Array, name: str) -> Array:
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + EPSILON)
        out: Array = x * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]
        return out


@cache
def opened_bert(folder: Path, longest: int) -> NumpyBert:
    """The encoder in a folder, read once for each process."""
    return NumpyBert(folder, longest=longest)


def _gelu(x: Array) -> Array:
    """x Φ(x), with the error function to 1.5e-7 (Abramowitz and Stegun 1964, 7.1.26)."""
    y = np.abs(x) * np.float32(np.sqrt(0.5))
    t = 1 / (1 + np.float32(0.3275911) * y)
    series = t * (
        np.float32(0.254829592)
        + t
        * (
            np.float32(-0.284496736)
            + t
            * (
                np.float32(1.421413741)
                + t * (np.float32(-1.453152027) + t * np.float32(1.061405429))
            )
        )
    )
    erf = np.sign(x) * (1 - series * np.exp(-y * y))
    out: Array = (np.float32(0.5) * x * (1 + erf)).astype(np.float32)
    return out
