"""Train the denoiser and the text encoder together, the latter from what captions mean.

The denoiser predicts v = α ε − σ x (Salimans and Ho 2022, appendix D), all noises weighing alike
and much noise met most often: what a caption says is decided there, and a shape that can be made
out needs no words. One caption in ten is empty, so that guidance has its other branch (Ho and
Salimans 2022). A second loss says what stands where (`layout_loss`). What ships is the running mean
of the weights.
"""

from __future__ import annotations

import copy
import json
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from diffusers.models.attention_processor import AttnProcessor
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from pretraining.precision import bfloat16_pays
from pretraining.scenes import learn_meaning, learn_pictures, network, pool, words
from pretraining.scenes.layout_loss import LayoutReader, layout_loss
from pretraining.train import save

CHECKPOINT = "denoiser.safetensors"


@dataclass(frozen=True)
class Settings:
    """What a run may vary."""

    batch: int = 64
    rate: float = 8e-4
    warm: int = 300  # steps
    cool: float = 0.4  # last share of the run over which the rate falls to a twentieth
    empty: float = 0.1  # share of captions left out
    mean: float = 0.999  # share of the running mean that a step keeps
    layout: float = 0.01  # weight of the loss of what stands where
    checkpoint_seconds: float = 150.0
    seed: int = 0


class Learner(nn.Module):
    """The denoiser, the text encoder, and the reader of layouts."""

    def __init__(self, out: Path) -> None:
        super().__init__()
        self.tokenizer = words.build(out)
        self.denoiser: Any = network.denoiser()
        self.text: Any = network.text_encoder(self.tokenizer)
        self.layout = LayoutReader(self.denoiser)
        learn_meaning.restore(out, self.text)

    def states(self, tokens: Tensor) -> Tensor:
        """What the denoiser attends to, (B, L, W)."""
        out: Tensor = self.text(tokens)[0]
        return out

    def forward(self, noisy: Tensor, times: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Velocities of noisy latents, and logits of their layouts."""
        velocities: Tensor = self.denoiser(noisy, times, self.states(tokens)).sample
        return velocities, self.layout()


class Part(NamedTuple):
    """What one thread learns from in a step."""

    noisy: Tensor
    times: Tensor
    tokens: Tensor
    velocities: Tensor
    layouts: Tensor


def spread_times(draw: np.random.Generator, count: int) -> NDArray[np.int64]:
    """Times of the schedule, one out of each of `count` parts, twice as many late as halfway."""
    return (1000 * np.sqrt((np.arange(count) + draw.random(count)) / count)).astype(np.int64)


def scale_of(latents: np.ndarray) -> float:
    """What latents are multiplied by to have unit spread."""
    return float(1 / latents[:4096].astype(np.float32).std())


def train(out: Path, minutes: float, planned: float, s: Settings, threads: int = 1) -> None:
    """Train until `minutes`, SIGTERM, or the `planned` minutes of all calls; go on from before.

    Each of `threads` threads takes a part of every batch."""
    torch.manual_seed(s.seed)
    torch.set_num_threads(1)
    latents = np.load(out / learn_pictures.LATENTS)
    captions, layouts = pool.captions(out), torch.from_numpy(pool.layouts(out))
    model = Learner(out)
    mean = copy.deepcopy(model).requires_grad_(False)
    half = bfloat16_pays()
    if half:  # the gradient of fused attention is slow in this precision
        model.denoiser.set_attn_processor(AttnProcessor())
    tokens = torch.tensor(words.padded(model.tokenizer, [*captions, ""]))
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=s.rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    path, at = out / CHECKPOINT, {"seconds": 0.0, "step": 0.0}
    if path.exists():
        restore(path, model, mean, optimiser)
        with safe_open(path, "pt") as f:
            at |= json.loads(f.metadata()["at"])
            scale = float(f.metadata()["scale"])
    else:
        scale = scale_of(latents)
    alphas = network.scheduler().alphas_cumprod.float()
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stop.append(number))
    started, before, saved = time.time(), at["seconds"], time.time()
    draw = np.random.default_rng([s.seed, int(at["step"])])
    losses: list[tuple[float, float]] = []

    def lots(draw: np.random.Generator) -> Part:
        """A batch: scenes, times and noises by lot, and some captions left out."""
        rows = draw.choice(len(captions), s.batch, replace=False)
        x = torch.from_numpy(latents[rows].astype(np.float32)) * scale
        told = np.where(draw.random(s.batch) < s.empty, len(captions), rows)
        times = torch.from_numpy(spread_times(draw, s.batch))
        a = alphas[times].sqrt()[:, None, None, None]
        b = (1 - alphas[times]).sqrt()[:, None, None, None]
        noise = torch.from_numpy(draw.standard_normal(x.shape, np.float32))
        return Part(
            a * x + b * noise, times, tokens[torch.from_numpy(told)], a * noise - b * x,
            layouts[torch.from_numpy(rows)],
        )  # fmt: skip

    def learn(part: Part) -> tuple[float, float]:
        """Add the gradients of a part; returns its share of both losses."""
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            found, logits = model(part.noisy, part.times, part.tokens)
        share = len(part.times) / s.batch
        loss = (found.float() - part.velocities).square().mean() * share
        layout = layout_loss(logits, part.layouts) * share
        (loss + s.layout * layout).backward()
        return float(loss.detach()), float(layout.detach())

    with ThreadPoolExecutor(threads) as workers:
        while True:
            done = at["seconds"] / (60 * planned)
            over = bool(stop) or done >= 1 or time.time() - started > 60 * minutes
            if over or time.time() - saved > s.checkpoint_seconds:
                told = {"at": json.dumps(at), "scale": str(scale)}
                save(path, state_of(model, mean, optimiser), told)
                saved = time.time()
            if over:
                return
            whole = lots(draw)
            parts = [Part(*(value[n::threads] for value in whole)) for n in range(threads)]
            found = np.array(list(workers.map(learn, parts))).sum(0)
            for group in optimiser.param_groups:
                group["lr"] = s.rate * min(1.0, (at["step"] + 1) / s.warm)
                group["lr"] *= max(0.05, min(1.0, (1 - done) / s.cool))
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            follow(mean, model, min(s.mean, (at["step"] + 1) / (at["step"] + 10)))
            losses.append(tuple(found))
            at["step"] += 1
            at["seconds"] = before + time.time() - started
            if at["step"] % 100 == 0:
                loss, layout = np.mean(losses[-100:], 0).round(4).tolist()
                line = {**at, "loss": loss, "layout": layout}
                with (out / "curve.jsonl").open("a") as curve:
                    curve.write(json.dumps(line) + "\n")
                print(line, flush=True)


@torch.no_grad()
def follow(mean: nn.Module, model: nn.Module, keep: float) -> None:
    """Move the running mean towards the weights."""
    old = list(mean.parameters())
    torch._foreach_lerp_(old, [p.detach() for p in model.parameters()], 1 - keep)


def state_of(model: nn.Module, mean: nn.Module, optimiser: Any) -> dict[str, Tensor]:
    """Weights, their running mean and the optimiser's tensors, by name."""
    out = dict(model.named_parameters())
    out |= {f"mean.{n}": p for n, p in mean.named_parameters()}
    for name, p in model.named_parameters():
        for key, value in optimiser.state.get(p, {}).items():
            out[f"optimiser.{key}.{name}"] = value
    return out


@torch.no_grad()
def restore(path: Path, model: nn.Module, mean: nn.Module, optimiser: Any = None) -> None:
    """Put back what :func:`state_of` returned."""
    saved = load_file(path)
    for name, p in model.named_parameters():
        if name not in saved and name.startswith("layout."):
            continue  # a pipeline that training goes on from has none
        p.copy_(saved[name])
        if optimiser is not None and f"optimiser.step.{name}" in saved:
            keys = ("step", "exp_avg", "exp_avg_sq")
            optimiser.state[p] = {k: saved[f"optimiser.{k}.{name}"].clone() for k in keys}
    for name, p in mean.named_parameters():
        if not name.startswith("layout."):
            p.copy_(saved[f"mean.{name}"])
