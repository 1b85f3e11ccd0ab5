"""The families that are written as GGUF: how each is called there and what of it changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

Change = Callable[[str, torch.Tensor, Any], torch.Tensor]
COVERED = "Llama and Mistral, Qwen2, Qwen3, Gemma, Gemma 2, Gemma 3, GPT-2"


@dataclass(frozen=True, slots=True)
class GgufFamily:
    """`arch` is llama.cpp's name of the architecture, `change` turns a tensor of the checkpoint
    into one of the file."""

    arch: str
    change: Change


def family_of(config: Any) -> GgufFamily | None:
    """The family of a base's configuration; None where it is not covered."""
    kind = config.model_type
    if kind not in FAMILIES or _special(config):
        return None
    return FAMILIES[kind]


def uncovered(config: Any) -> str:
    """Why a base is not covered, in words."""
    kind = config.model_type
    if kind == "opt":
        return (
            "llama.cpp has no OPT architecture (nano is one, with its norms after the blocks); "
            f"covered are {COVERED}"
        )
    if kind in FAMILIES:
        return f"{_special(config)}, which is not written here"
    return f"the family {kind!r} is not covered; covered are {COVERED}"


def rope_theta(config: Any) -> float | None:
    """The base of the rotary embedding; None where there is none."""
    found = getattr(config, "rope_parameters", None) or {}
    if "full_attention" in found:
        found = found["full_attention"]
    value = found.get("rope_theta", getattr(config, "rope_theta", None))
    return None if value is None else float(value)


def _special(config: Any) -> str:
    """What of a configuration is beyond what is written, "" for nothing."""
    parameters = getattr(config, "rope_parameters", None) or {}
    each = parameters.values() if "full_attention" in parameters else [parameters]
    kinds = {p.get("rope_type", "default") for p in each if isinstance(p, dict)}
    if kinds - {"default"}:
        return f"its rotary embedding is of the type {', '.join(sorted(kinds))}"
    heads = getattr(config, "num_attention_heads", 1)
    width = getattr(config, "head_dim", None) or getattr(config, "hidden_size", 0) // heads
    scalar = getattr(config, "query_pre_attn_scalar", None)
    if scalar is not None and scalar != width:
        return f"its queries are scaled by {scalar} and not by the width of a head"
    if getattr(config, "sliding_window", None) and config.model_type == "mistral":
        return "its attention slides over the text"
    return ""


def _same(name: str, tensor: torch.Tensor, config: Any) -> torch.Tensor:
    return tensor


def _llama(name: str, tensor: torch.Tensor, config: Any) -> torch.Tensor:
    """Queries and keys in the order in which llama.cpp rotates them: pairs side by side."""
    if not name.endswith(("q_proj.weight", "k_proj.weight", "q_proj.bias", "k_proj.bias")):
        return tensor
    of_keys = "k_proj" in name
    heads = config.num_key_value_heads if of_keys else config.num_attention_heads
    pairs = tensor.reshape(heads, 2, tensor.shape[0] // heads // 2, *tensor.shape[1:])
    return pairs.swapaxes(1, 2).reshape(tensor.shape)


def _gemma(name: str, tensor: torch.Tensor, config: Any) -> torch.Tensor:
    return tensor + 1 if name.endswith("norm.weight") else tensor


def _gpt2(name: str, tensor: torch.Tensor, config: Any) -> torch.Tensor:
    turned = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
    return tensor.t() if name.endswith(turned) else tensor


FAMILIES = {
    "llama": GgufFamily("llama", _llama),
    "mistral": GgufFamily("llama", _llama),
    "qwen2": GgufFamily("qwen2", _same),
    "qwen3": GgufFamily("qwen3", _same),
    "gemma": GgufFamily("gemma", _gemma),
    "gemma2": GgufFamily("gemma2", _gemma),
    "gemma3_text": GgufFamily("gemma3", _gemma),
    "gpt2": GgufFamily("gpt2", _gpt2),
}
