"""The configuration of a fresh LoRA, where an answering model carries no adapter yet."""

from __future__ import annotations

from typing import Any


def lora_config(module: Any, *, rank: int) -> Any:
    """A fresh LoRA on every linear layer, scaled by 2."""
    import peft

    from luthier.training.peft_config import has_transposed_weights

    return peft.LoraConfig(
        task_type="SEQ_2_SEQ_LM" if module.config.is_encoder_decoder else "CAUSAL_LM",
        r=rank,
        lora_alpha=2 * rank,
        target_modules="all-linear",
        lora_dropout=0.0,
        fan_in_fan_out=has_transposed_weights(module),
    )
