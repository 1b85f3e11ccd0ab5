"""How much memory a scoring call may take, and what a batch of rows takes of it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any

import psutil
import torch

from luthier.engine.session import Session
from luthier.errors import UserError

VARIABLE = "LUTHIER_MEMORY"
SHARE_OF_FREE = 0.5  # the rest is for others, and for what an estimate leaves out
# What is free changes from minute to minute, and with it how rows are packed and sums are rounded:
# a share of the whole, where that much is free, keeps a machine's plan the same.
SHARE_OF_ALL = 0.125
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def memory_cap(device: torch.device) -> int:
    """Bytes that one scoring call may take beyond the weights.

    LUTHIER_MEMORY says how many ("800M", "2GB", or plain bytes); without it, an eighth of all there
    is, or half of what is free where that is less.
    UserError for anything else.
    """
    asked = os.environ.get(VARIABLE, "").strip()
    if asked:
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?", asked, re.IGNORECASE)
        if found is None or float(found[1]) == 0:
            raise UserError(
                f"{VARIABLE}={asked!r} is no amount of memory",
                choices=("800M", "2GB", "500000000"),
                next_step="Unset it to leave the amount to Luthier.",
            )
        return int(float(found[1]) * UNITS[found[2].upper()])
    if device.type == "cuda":
        free, whole = torch.cuda.mem_get_info(device)
    else:
        free, whole = psutil.virtual_memory().available, psutil.virtual_memory().total
    return int(min(free * SHARE_OF_FREE, whole * SHARE_OF_ALL))


@dataclass(frozen=True, slots=True)
class Shape:
    """What decides how large activations are: sizes of the base, and bytes of a number in it."""

    hidden: int
    inner: int
    layers: int
    heads: int
    kept_heads: int
    head_width: int
    vocabulary: int
    bytes: int

    @classmethod
    def of(cls, session: Session) -> Shape:
        """By the config; where it is silent, what most models do."""
        config = session.module.config.get_text_config()
        hidden = int(session.embeddings.weight.shape[1])
        heads = _size(config, "num_attention_heads") or 1
        return cls(
            hidden=hidden,
            inner=_size(config, "intermediate_size", "ffn_dim", "n_inner") or 4 * hidden,
            layers=_size(config, "num_hidden_layers") or 1,
            heads=heads,
            kept_heads=_size(config, "num_key_value_heads") or heads,
            head_width=_size(config, "head_dim") or hidden // heads,
            vocabulary=session.vocabulary,
            bytes=torch.finfo(session.dtype).bits // 8,
        )

    def kept_token(self) -> int:
        """Bytes of one token's keys and values in all layers."""
        return 2 * self.layers * self.kept_heads * self.head_width * self.bytes

    def row(self, width: int, past: int, keep: int) -> int:
        """Bytes that one row of a batch takes at its worst moment.

        The mask (bool and additive, two kinds of layer); the keys and values of one layer, widened
        to the batch and again to all heads; the attention weights, where a base computes them;
        the inner layer; logits in the base's type and once more in float32.
        """
        every = past + width
        mask = width * every * (2 + 2 * self.bytes)
        keys = 2 * every * (self.kept_heads + self.heads) * self.head_width * self.bytes
        weights = self.heads * width * every * (self.bytes + 4)
        inner = width * (4 * self.inner + 8 * self.hidden) * self.bytes
        logits = keep * self.vocabulary * self.bytes
        return mask + max(keys + weights, inner) + logits


def _size(config: Any, *names: str) -> int:
    """What a config says by the first of these names that it knows, the largest where it says one
    for each layer; 0 where it says nothing."""
    for name in names:
        try:
            found = getattr(config, name, None)
        except RuntimeError:  # how transformers answers where layers differ
            found = [getattr(layer, name) for layer in config.per_layer_config]
        if found:
            return int(max(found) if isinstance(found, list | tuple) else found)
    return 0


def out_of_memory(error: BaseException) -> bool:
    """Whether this is what torch says when memory runs out; on a CPU it has no type of its own."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    said = str(error).lower()
    return any(w in said for w in ("out of memory", "can't allocate memory", "not enough memory"))
