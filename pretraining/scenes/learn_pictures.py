"""Train the decoder: from the encoder's numbers (`linear_code`) back to pictures, sharp.

Crops about shapes teach it, since most of a picture is background; the last steps see whole
pictures, whose normalisations it will meet.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file

from pretraining.precision import bfloat16_pays
from pretraining.scenes import network, pool
from pretraining.scenes.linear_code import FILE, LinearCode, fit, foreground, write
from pretraining.train import save

CROPS, WHOLE = 32, 12  # of a step
SIDE = 4  # places of a crop, of 8 pixels each
WHOLE_FROM = 0.85  # share of the training after which pictures are whole
RATE = 2e-3
NOISE = 0.25  # at most, of the latents' spread: what is drawn is never quite a picture's latent
SHAPES_WEIGH = 4.0  # times as much as the background
LATENTS = "latents.npy"
CHECKPOINT = "decoder.safetensors"


def code(out: Path) -> LinearCode:
    """The encoder's directions, found once."""
    if not (out / FILE).exists():
        fit(pool.pictures(out)).save(out)
    return LinearCode.load(out)


def train(out: Path, minutes: float, planned: float, seed: int = 0) -> None:
    """Train until `minutes` or the `planned` minutes of all calls run out; go on from before."""
    torch.manual_seed(seed)
    encoder, pictures = code(out), pool.pictures(out)
    model: Any = network.autoencoder().to(memory_format=torch.channels_last)
    parameters, half = list(learnt(model).values()), bfloat16_pays()
    optimiser = torch.optim.AdamW(parameters, lr=RATE, betas=(0.9, 0.98), weight_decay=0.0)
    path, at = out / CHECKPOINT, {"seconds": 0.0, "step": 0.0}
    if path.exists():
        _restore(path, model)
        with safe_open(path, "pt") as f:
            at |= json.loads(f.metadata()["at"])
    started, before, saved = time.time(), at["seconds"], time.time()
    draw = np.random.default_rng([seed, int(at["step"])])
    spread = float(encoder.encode(pictures[:512]).std())
    losses: list[float] = []
    while at["seconds"] < 60 * planned and time.time() - started < 60 * minutes:
        done = at["seconds"] / (60 * planned)
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1.0, (at["step"] + 1) / 50)
            group["lr"] *= max(0.02, min(1, 2 * (1 - done)))
        whole = done >= WHOLE_FROM
        count = WHOLE if whole else CROPS
        rows = pictures[np.sort(draw.choice(len(pictures), count, replace=False))]
        latents, rows = encoder.encode(rows), np.array(rows)
        if not whole:
            latents, rows = _crops(latents, rows, draw)
        latents = latents + noise(latents.shape, spread, draw)
        x = as_tensor(rows)
        shape = torch.from_numpy(_off_background(rows))[:, None].float()
        with torch.autocast("cpu", torch.bfloat16, enabled=half and not whole):
            told = model.decode(torch.from_numpy(latents)).sample
        gap, weight = told.float() - x, 1 + (SHAPES_WEIGH - 1) * shape
        loss = ((weight / weight.mean()) * (gap.square() + 0.5 * gap.abs())).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        losses.append(float(loss.detach()))
        at["step"] += 1
        at["seconds"] = before + time.time() - started
        if at["step"] % 100 == 0:
            print({**at, "loss": float(np.mean(losses[-100:]))}, flush=True)
        if time.time() - saved > 60:
            save(path, learnt(model), {"at": json.dumps(at)})
            saved = time.time()
    save(path, learnt(model), {"at": json.dumps(at)})


def as_tensor(pictures: NDArray[np.uint8]) -> torch.Tensor:
    """Bytes (B, H, W, 3) as numbers from −1 to 1, (B, 3, H, W)."""
    return torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def noise(shape: tuple[int, ...], spread: float, draw: np.random.Generator) -> NDArray[np.float32]:
    """Noise for latents, of another strength for each picture, from none to NOISE."""
    strength = NOISE * spread * draw.random((shape[0], 1, 1, 1), np.float32)
    found: NDArray[np.float32] = strength * draw.standard_normal(shape, np.float32)
    return found


def _crops(
    latents: NDArray[np.float32], pictures: NDArray[np.uint8], draw: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """A square about a place of a shape out of each picture, and its latents."""
    shape = foreground(pictures.astype(np.float32) / 127.5 - 1)
    places = shape.reshape(-1, 8, 8, 8, 8).any((2, 4))
    cut_latents, cut_pictures = [], []
    for n, there in enumerate(places):
        found = np.argwhere(there) if there.any() else np.array([[4, 4]])
        centre = found[draw.integers(len(found))] + draw.integers(-1, 2, 2)
        a, b = np.clip(centre - SIDE // 2, 0, 8 - SIDE)
        cut_latents.append(latents[n, :, a : a + SIDE, b : b + SIDE])
        cut_pictures.append(pictures[n, 8 * a : 8 * (a + SIDE), 8 * b : 8 * (b + SIDE)])
    return np.stack(cut_latents), np.stack(cut_pictures)


def _off_background(rows: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where a crop is not its commonest colour."""
    out = np.zeros(rows.shape[:3], bool)
    for n, row in enumerate(rows):
        colours, counts = np.unique(row.reshape(-1, 3), axis=0, return_counts=True)
        background = colours[counts.argmax()].astype(np.int16)
        out[n] = np.abs(row.astype(np.int16) - background).max(-1) > 12
    return out


def learnt(model: Any) -> dict[str, torch.Tensor]:
    """The weights of an autoencoder that are trained: all but the encoder's."""
    return {
        n: p for n, p in model.named_parameters() if n.startswith(("decoder.", "post_quant_conv."))
    }


def _restore(path: Path, model: Any) -> None:
    model.load_state_dict(load_file(path), strict=False)


def load(out: Path) -> AutoencoderKL:
    """The autoencoder: the closed form's encoder, and the decoder as it was trained."""
    model = network.autoencoder()
    write(code(out), model)
    _restore(out / CHECKPOINT, model)
    return model.eval()


def write_latents(out: Path) -> None:
    """The latent of every picture, float16 (N, 16, 8, 8), once."""
    path = out / LATENTS
    if path.exists():
        return
    encoder, pictures = code(out), pool.pictures(out)
    size = (len(pictures), network.CHANNELS, 8, 8)
    beside = path.with_suffix(".part.npy")
    found = np.lib.format.open_memmap(beside, mode="w+", dtype=np.float16, shape=size)
    for i in range(0, len(pictures), 1024):
        found[i : i + 1024] = encoder.encode(pictures[i : i + 1024])
    found.flush()
    beside.rename(path)
