"""How much memory a call may take, what a batch of rows takes of it, and what to do without it."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import psutil
import torch

from luthier.engine.session import Session
from luthier.errors import BackendError, UserError

VARIABLE = "LUTHIER_MEMORY"
SHARE_OF_FREE = 0.5  # the rest is for others, and for what an estimate leaves out
# What is free changes from minute to minute, and with it how rows are packed and sums are rounded:
# a share of the whole, where that much is free, keeps a machine's plan the same.
SHARE_OF_ALL = 0.125
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}

Batch = TypeVar("Batch")
Result = TypeVar("Result")


def memory_cap(device: torch.device) -> int:
    """How many bytes one call may take beyond the weights.

    LUTHIER_MEMORY says how many ("800M", "2GB", or plain bytes). Without it the cap is an eighth of
    all there is, or half of what is free where that is less. UserError for anything else.
    """
    value = os.environ.get(VARIABLE, "").strip()
    if value:
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?", value, re.IGNORECASE)
        if found is None or float(found[1]) == 0:
            raise UserError(
                f"{VARIABLE}={value!r} is no amount of memory",
                choices=("800M", "2GB", "500000000"),
                next_step="Unset it to leave the amount to Luthier.",
            )
        return int(float(found[1]) * UNITS[found[2].upper()])
    if device.type == "cuda":
        free, whole = torch.cuda.mem_get_info(device)
    else:
        free, whole = psutil.virtual_memory().available, psutil.virtual_memory().total
    return int(min(free * SHARE_OF_FREE, whole * SHARE_OF_ALL))


def give_back() -> None:
    """Hand the pages that freed tensors leave behind to the system. glibc keeps those between
    others, so that a process which frees as much as it takes grows all the same; elsewhere nothing
    is done."""
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What decides how large activations are: the sizes of the base, and the bytes of a number."""

    hidden: int
    inner: int
    layers: int
    heads: int
    key_value_heads: int
    head_width: int
    vocabulary: int
    bytes: int

    @classmethod
    def of(cls, session: Session) -> ModelShape:
        """The shape that the config gives; where it is silent, what most models do."""
        config = session.module.config.get_text_config()
        hidden = int(session.embeddings.weight.shape[1])
        heads = _size(config, "num_attention_heads") or 1
        return cls(
            hidden=hidden,
            inner=_size(config, "intermediate_size", "ffn_dim", "n_inner") or 4 * hidden,
            layers=_size(config, "num_hidden_layers") or 1,
            heads=heads,
            key_value_heads=_size(config, "num_key_value_heads") or heads,
            head_width=_size(config, "head_dim") or hidden // heads,
            vocabulary=session.vocabulary,
            bytes=torch.finfo(session.dtype).bits // 8,
        )

    def key_value_bytes(self) -> int:
        """Bytes of one token's keys and values in all layers."""
        return 2 * self.layers * self.key_value_heads * self.head_width * self.bytes

    def row_bytes(self, width: int, past: int, keep: int) -> int:
        """Bytes that one row of a batch takes at its worst moment: `width` tokens of its own after
        `past` kept ones, with logits at `keep` places.

        They are: the mask (bool and additive, two kinds of layer); the keys and values of one
        layer, widened to the batch and again to all heads; the attention weights, where a base
        computes them; the inner layer; logits in the base's type and once more in float32.
        """
        every = past + width
        mask = width * every * (2 + 2 * self.bytes)
        keys = 2 * every * (self.key_value_heads + self.heads) * self.head_width * self.bytes
        weights = self.heads * width * every * (self.bytes + 4)
        inner = width * (4 * self.inner + 8 * self.hidden) * self.bytes
        logits = keep * self.vocabulary * self.bytes
        return mask + max(keys + weights, inner) + logits


def _size(config: Any, *names: str) -> int:
    """The size under the first of these names that a config knows; the largest where it has one for
    each layer, 0 where it has none."""
    for name in names:
        try:
            found = getattr(config, name, None)
        except RuntimeError:  # how transformers answers where layers differ
            found = [getattr(layer, name) for layer in config.per_layer_config]
        if found:
            return int(max(found) if isinstance(found, list | tuple) else found)
    return 0


def out_of_memory(error: BaseException) -> bool:
    """Whether torch raises this error when memory runs out; on a CPU it has no type of its own."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    message = str(error).lower()
    return any(
        w in message for w in ("out of memory", "can't allocate memory", "not enough memory")
    )


def run_in_halves(
    run: Callable[[Batch], Result], batch: Batch,
    halve: Callable[[Batch], Sequence[Batch] | None], *, describe: Callable[[Batch], str],
) -> list[Result]:  # fmt: skip
    """What `run` returns for a batch, or for its halves, in order, where memory is short.

    `halve` returns None for a batch that cannot be divided; then BackendError says that what
    `describe` calls it does not fit in memory.
    """
    try:
        return [run(batch)]
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        halves = halve(batch)
        if halves is None:
            raise too_large(describe(batch)) from error
    # The error holds on to the tensors of the failed run until here.
    return [r for half in halves for r in run_in_halves(run, half, halve, describe=describe)]


def too_large(what: str) -> BackendError:
    """The error for what does not fit in memory even alone."""
    return BackendError(
        f"{what} does not fit in memory",
        next_step="Close other programs, or use a smaller base or shorter inputs.",
    )
