"""PEFT's configurations as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def adapter_config(config: Any) -> Mapping[str, Any]:
    """A PEFT configuration as it stands in adapter_config.json."""
    plain = {k: v for k, v in config.to_dict().items() if v is not None}
    for key, value in plain.items():
        if isinstance(value, set):
            plain[key] = sorted(value)
        elif hasattr(value, "value"):
            plain[key] = value.value
    return plain


def has_transposed_weights(module: Any) -> bool:
    """Whether the base keeps its weights as (in, out), as GPT-2 does."""
    return any(type(m).__name__ == "Conv1D" for m in module.modules())
