"""Write the model folder that ships: weights in bfloat16, tokenizer, chat template, settings."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import GenerationConfig, OPTForCausalLM

from pretraining import model as network
from pretraining.texts import tokenizer as tokens


def export(out: Path, folder: Path, *, name: str = "checkpoint.safetensors") -> dict[str, int]:
    """Turn the last checkpoint into ``folder``; returns the number of parameters."""
    tokenizer = tokens.load(out)
    state = {
        k: v for k, v in load_file(out / name).items() if not k.startswith(("optimiser", "auxil"))
    }
    model = OPTForCausalLM(network.configuration(tokenizer))
    missing, unexpected = model.load_state_dict(state, strict=False)
    if unexpected or [m for m in missing if m != "lm_head.weight"]:
        raise ValueError(f"checkpoint does not fit: missing {missing}, unexpected {unexpected}")
    model.tie_weights()
    model = model.to(torch.bfloat16)
    model.config.dtype = torch.bfloat16
    # Most episodes are plain text; the template is there for dialogue and tools.
    model.config.prefers_chat = False
    end = tokenizer.convert_tokens_to_ids(tokens.END)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=[tokenizer.eos_token_id, end],
        pad_token_id=tokenizer.pad_token_id,
        max_new_tokens=32,
    )
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder, max_shard_size="16MB")
    tokenizer.save_pretrained(folder)
    for path in folder.iterdir():
        path.chmod(0o644)
    return {"parameters": sum(p.numel() for p in model.parameters())}


def reload_matches(folder: Path) -> bool:
    """Whether the folder, opened by transformers, agrees with the training forward."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    x = torch.tensor([tokenizer("Labels: a, b\n\nInput: a quick check\nLabel:")["input_ids"]])
    with torch.inference_mode():
        theirs = model(x).logits
        ours = network.forward(model, x)[0] @ model.lm_head.weight.T
    error = (theirs - ours).abs().mean() / theirs.std()
    return bool(error < 0.05)  # ours rounds to bfloat16
