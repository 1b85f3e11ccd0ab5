"""Write the model folder that ships: weights in bfloat16, tokenizer, chat template, settings."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    BartForConditionalGeneration,
    GenerationConfig,
)

from pretraining.reader import network, vocabulary

LARGEST_SHARD = "16MB"


def export(out: Path, run: Path, folder: Path, *, layers: int | None = None) -> dict[str, int]:
    """Turn the last checkpoint in ``run`` into ``folder``; returns the number of parameters."""
    tokenizer = vocabulary.load(out)
    layers = network.DECODER_LAYERS if layers is None else layers
    model = BartForConditionalGeneration(network.configuration(tokenizer, layers))
    with safe_open(run / "checkpoint.safetensors", "pt") as saved:
        own = set(dict(model.named_parameters()))
        state = {name: saved.get_tensor(name) for name in own.intersection(saved.keys())}
    missing, unexpected = model.load_state_dict(state, strict=False)
    tied = ("lm_head.weight", "embed_tokens.weight", "final_logits_bias")
    if unexpected or [m for m in missing if not m.endswith(tied)]:
        raise ValueError(f"checkpoint does not fit: missing {missing}, unexpected {unexpected}")
    model.tie_weights()
    write(model, tokenizer, folder)
    return {"parameters": sum(p.numel() for p in model.parameters())}


def write(model: BartForConditionalGeneration, tokenizer: object, folder: Path) -> None:
    """Save ``model`` in bfloat16, in shards of at most 16 MB, with its tokenizer."""
    model = model.to(torch.bfloat16)
    model.config.dtype = torch.bfloat16
    model.config.prefers_chat = False  # most pairs are plain text
    c = model.config
    model.generation_config = GenerationConfig(
        bos_token_id=c.bos_token_id,
        eos_token_id=c.eos_token_id,
        pad_token_id=c.pad_token_id,
        decoder_start_token_id=c.decoder_start_token_id,
        forced_bos_token_id=c.bos_token_id,
        max_new_tokens=48,
    )
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder, max_shard_size=LARGEST_SHARD)
    tokenizer.save_pretrained(folder)  # type: ignore[attr-defined]
    for path in folder.iterdir():
        path.chmod(0o644)


def reload_matches(folder: Path) -> bool:
    """Whether the folder, opened by transformers, agrees with the training forward."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32).eval()
    x = tokenizer(["Labels: a, b\n\nInput: a quick check\nLabel:", "b"], padding=True)
    source = torch.tensor(x["input_ids"])
    wanted = torch.tensor([tokenizer("a")["input_ids"]] * 2)
    start = torch.full((2, 1), model.config.decoder_start_token_id)
    with torch.inference_mode():
        mask = torch.tensor(x["attention_mask"])
        theirs = model(input_ids=source, attention_mask=mask, labels=wanted).logits
        states, hidden = network.encode(model, source)
        given = torch.cat([start, wanted[:, :-1]], 1)
        ours = network.logits(model, network.decode(model, given, states, hidden).states)
    return bool((theirs - ours).abs().max() < 1e-3 * theirs.std().clamp(min=1))
