"""What vLLM needs: the adapter's folder and the exact command, with prompt embeddings for soft
prompts."""

from __future__ import annotations

import shlex
from pathlib import Path

from luthier.models.model import Model
from luthier.serving.export.merged_model import write_merged
from luthier.serving.export.peft_folder import base_place, write_peft

EMBED = '''"""Prompt embeddings for vLLM: the virtual tokens, then the embeddings of a prompt.

python embed_prompt.py "The prompt" prints the `prompt_embeds` of a request to /v1/completions.
"""
import base64
import io
import sys

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

BASE = {base!r}
tokenizer = AutoTokenizer.from_pretrained(BASE)
table = AutoModelForCausalLM.from_pretrained(BASE).get_input_embeddings()
virtual = load_file("adapter/adapter_model.safetensors")["prompt_embeddings"]
ids = tokenizer(sys.argv[1], return_tensors="pt").input_ids
whole = torch.cat([virtual.to(table.weight.dtype), table(ids)[0].detach()])
buffer = io.BytesIO()
torch.save(whole, buffer)  # the form that vLLM reads
print(base64.b64encode(buffer.getvalue()).decode())
'''


def write_vllm(model: Model, folder: Path) -> str:
    """Write what vLLM opens to `folder`, and return the command that serves it."""
    adaptation, base = model.adaptation, base_place(model)
    if adaptation.weights is not None or (
        adaptation.adapter is None and adaptation.soft_prompt is None
    ):
        write_merged(model, folder / "model")
        command = ["vllm", "serve", "./model"]
    else:
        write_peft(model, folder / "adapter")
        command = ["vllm", "serve", base]
        if adaptation.adapter is not None:
            rank = int(adaptation.adapter.config["r"])
            command += ["--enable-lora", "--lora-modules", "tuned=./adapter"]
            command += ["--max-lora-rank", str(next(r for r in (8, 16, 32, 64, 128, 256, 320, 512)
                                                    if r >= rank))]  # fmt: skip
        else:
            command += ["--enable-prompt-embeds"]
            (folder / "embed_prompt.py").write_text(EMBED.format(base=base), "utf-8")
    line = shlex.join(command)
    (folder / "serve.sh").write_text(f"#!/bin/sh\n# From this folder.\n{line}\n", "utf-8")
    return line
