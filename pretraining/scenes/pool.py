"""Captions and pictures of scenes drawn by lot, kept as files that training reads."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np

from luthier.images.scenes.draw import draw_scene
from luthier.images.scenes.draw_lots import random_request, random_scene, with_fillers
from luthier.images.scenes.kept_out import is_kept_out
from luthier.images.scenes.scene_request import Request, Wanted

PICTURES = "pictures.npy"
CAPTIONS = "captions.jsonl"


def kept_out(request: Request) -> bool:
    """Whether a request holds a shape in a colour that the model never sees together.

    One colour of each shape is kept out, so that a measure on them says whether words combine.
    """
    return any(map(_kept_out, request.wanted))


def _kept_out(wanted: Wanted) -> bool:
    return is_kept_out(wanted.shape, wanted.colour)


def build(out: Path, count: int, seed: int = 0) -> None:
    """Draw `count` captions and pictures into `out`; finished files stay as they are."""
    out.mkdir(parents=True, exist_ok=True)
    if (out / CAPTIONS).exists():
        return
    draw = random.Random(f"scenes/{seed}")
    pictures = np.lib.format.open_memmap(
        out / PICTURES, mode="w+", dtype=np.uint8, shape=(count, 64, 64, 3)
    )
    captions: list[str] = []
    while len(captions) < count:
        # Few shapes first: what is learnt of one shape serves all.
        request = random_request(draw, draw.choice([1, 1, 2, 2, 3]))
        scene = None if kept_out(request) else random_scene(request, draw)
        if scene is None or any(is_kept_out(t.shape, t.colour) for t in scene.things):
            continue
        pictures[len(captions)] = draw_scene(scene)
        captions.append(with_fillers(request.words, draw))
    pictures.flush()
    with (out / CAPTIONS).open("w") as lines:
        lines.writelines(json.dumps(c) + "\n" for c in captions)


def captions(out: Path) -> list[str]:
    """All captions, in the order of the pictures."""
    return [json.loads(line) for line in (out / CAPTIONS).read_text().splitlines()]


def pictures(out: Path) -> np.ndarray:
    """All pictures, (N, 64, 64, 3) bytes, read from disk as they are asked for."""
    return np.load(out / PICTURES, mmap_mode="r")
