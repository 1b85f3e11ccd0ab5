"""An adapter as PEFT itself opens it: LoRA and its kin, prefixes, and soft prompts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from luthier.models.load import EMBEDDED
from luthier.models.model import Model


def write_peft(model: Model, folder: Path) -> None:
    """Write adapter_config.json and adapter_model.safetensors to `folder`."""
    from safetensors.torch import save_file

    adapter = model.adaptation.adapter
    config: dict[str, Any]
    if adapter is not None:
        config, tensors = dict(adapter.config), dict(adapter.tensors)
    else:
        config, tensors = _soft_prompt(model)
    config["base_model_name_or_path"] = base_place(model)
    config["inference_mode"] = True
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2, default=str), "utf-8")
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(contiguous, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def base_place(model: Model) -> str:
    """Where the base is found: its hub id, or its folder."""
    return str(EMBEDDED.get(model.backend.name, model.backend.name))


def _soft_prompt(model: Model) -> tuple[dict[str, Any], dict[str, Any]]:
    """A soft prompt as PEFT's prompt tuning has it."""
    soft = model.adaptation.soft_prompt
    assert soft is not None
    from peft import PromptTuningConfig, TaskType

    _, length, width = soft.tensor.shape
    config = PromptTuningConfig(
        task_type=TaskType.CAUSAL_LM, num_virtual_tokens=length, token_dim=width,
        num_transformer_submodules=1, num_layers=model.backend.facts.layers,
    )  # fmt: skip
    plain = {
        name: value for name, value in config.to_dict().items()
        if isinstance(value, str | int | float | bool | list | dict | None)
    }  # fmt: skip
    return plain, {"prompt_embeddings": soft.tensor[0]}
