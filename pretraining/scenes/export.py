"""Write a Stable Diffusion pipeline that `diffusers` opens, in half precision."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline

from pretraining.scenes import learn_pictures, learn_words, network, words

STEPS, GUIDANCE = 20, 4.0  # what the model is drawn with unless a task says otherwise


def pipeline(out: Path) -> StableDiffusionPipeline:
    """The pipeline of the last checkpoints in `out`, with the running means of the weights."""
    from safetensors import safe_open

    model = learn_words.Learner(out)
    mean = copy.deepcopy(model)
    learn_words.restore(out / learn_words.CHECKPOINT, model, mean)
    with safe_open(out / learn_words.CHECKPOINT, "pt") as f:
        scale = float(f.metadata()["scale"])
    vae = learn_pictures.load(out)
    vae.register_to_config(scaling_factor=scale)
    return build(vae, mean.text, words.build(out), mean.denoiser)


def build(vae: Any, text: Any, tokenizer: Any, denoiser: Any) -> StableDiffusionPipeline:
    """A pipeline of the parts, without a filter for what it draws: it draws shapes."""
    return StableDiffusionPipeline(
        vae=vae, text_encoder=text, tokenizer=tokenizer, unet=denoiser,
        scheduler=network.scheduler(), safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip


def export(out: Path, folder: Path) -> dict[str, int]:
    """Write the pipeline to `folder`; returns the parameters and the bytes."""
    made = pipeline(out)
    parts = (made.unet, made.vae, made.text_encoder)
    made.to(torch.float16)
    made.save_pretrained(folder, safe_serialization=True)
    drawn_with = {"steps": STEPS, "guidance_scale": GUIDANCE}
    (folder / "drawing.json").write_text(json.dumps(drawn_with) + "\n", "utf-8")
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return {
        "parameters": sum(p.numel() for part in parts for p in part.parameters()),
        "bytes": sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()),
    }
