"""Train the text encoder first, on what captions mean.

The denoiser's loss tells the text encoder little about a word: it must be found in a noisy picture.
Here the state at a caption's end says, through one linear map, each shape that is asked for with
its features, the relation and the background. Minutes of a core for what takes the denoiser hours.
The map is thrown away.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from luthier.images.scenes.scene import (
    BACKGROUNDS,
    COLOURS,
    OUTLINES,
    PLACES,
    RELATIONS,
    SHAPES,
    SIZES,
    TEXTURES,
)
from luthier.images.scenes.scene_request import Request, parse_request
from pretraining.scenes import network, pool, words

CHECKPOINT = "text_encoder.safetensors"
MOST = 3  # shapes that a caption names
RATE, BATCH, HELD_OUT = 1e-3, 128, 1000
OF_SHAPE: dict[str, Sequence[Any]] = {
    "shape": SHAPES, "colour": list(COLOURS), "size": list(SIZES), "texture": TEXTURES,
    "number": (1, 2, 3), "place": list(PLACES), "outline": list(OUTLINES),
}  # fmt: skip
OF_ALL: dict[str, Sequence[Any]] = {
    "relation": RELATIONS, "background": list(BACKGROUNDS), "glowing": (True,), "open": (True,),
}  # fmt: skip
CHOICES = [len(v) + 1 for v in [*OF_SHAPE.values()] * MOST + [*OF_ALL.values()]]  # 0: not said


def meaning(request: Request) -> list[int]:
    """The number of each choice that a request makes; 0 where it leaves one open."""
    slots = [*request.wanted[:MOST], *[None] * (MOST - len(request.wanted))]
    found = [
        0 if slot is None else _number(getattr(slot, name), known)
        for slot in slots
        for name, known in OF_SHAPE.items()
    ]
    return found + [_number(getattr(request, name), known) for name, known in OF_ALL.items()]


def _number(value: Any, known: Sequence[Any]) -> int:
    return known.index(value) + 1 if value in known else 0


def train(out: Path, steps: int, seed: int = 0) -> float:
    """Train, write the weights, and return the share of captions not trained on whose every choice
    is read right."""
    torch.manual_seed(seed)
    tokenizer, captions = words.build(out), pool.captions(out)
    tokens = torch.tensor(words.padded(tokenizer, captions))
    said = torch.tensor([meaning(parse_request(c)) for c in captions])
    model: Any = network.text_encoder(tokenizer)
    head = nn.Linear(network.WIDTH, sum(CHOICES))
    learnt = [*model.parameters(), *head.parameters()]
    optimiser = torch.optim.AdamW(learnt, lr=RATE, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    draw = np.random.default_rng([seed, 1])

    def told(rows: Any) -> list[Tensor]:
        ends = (tokens[rows] == tokenizer.eos_token_id).int().argmax(1)
        length = int(ends.max()) + 1
        states = model(tokens[rows][:, :length])[0]
        parts: tuple[Tensor, ...] = head(states[torch.arange(len(ends)), ends]).split(CHOICES, -1)
        return list(parts)

    for step in range(steps):
        rows = draw.integers(0, len(captions) - HELD_OUT, BATCH)
        parts = told(torch.from_numpy(rows))
        loss = torch.stack(
            [nn.functional.cross_entropy(p, said[rows, n]) for n, p in enumerate(parts)]
        ).sum()
        optimiser.param_groups[0]["lr"] = RATE * min(1, (step + 1) / 50, 2 * (1 - step / steps))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(learnt, 1.0)
        optimiser.step()
        if step % 50 == 0:
            print({"step": step, "loss": round(float(loss.detach()), 3)}, flush=True)
    last = torch.arange(len(captions) - HELD_OUT, len(captions))
    with torch.no_grad():
        read = torch.stack([p.argmax(-1) for p in told(last)], -1)
    save_file({n: p.detach().contiguous() for n, p in model.named_parameters()}, out / CHECKPOINT)
    right = float((read == said[last]).all(-1).float().mean())
    print({"captions whose every choice is read": round(right, 3)}, flush=True)
    return right


def restore(out: Path, text: nn.Module) -> None:
    """Put the trained weights into a text encoder."""
    text.load_state_dict(load_file(out / CHECKPOINT), strict=False)
