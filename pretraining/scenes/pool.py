"""Captions and pictures of scenes drawn by lot, kept as files that training reads."""

from __future__ import annotations

import colorsys
import dataclasses
import json
import random
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from luthier.images.scenes.draw import Picture, draw_scene
from luthier.images.scenes.draw_lots import STEP, random_request, random_scene, with_fillers
from luthier.images.scenes.kept_out import is_kept_out
from luthier.images.scenes.read import read_picture
from luthier.images.scenes.scene import (
    COLOURS,
    OUTLINES,
    PLACES,
    SHAPES,
    SIDE,
    SIZES,
    TEXTURES,
    Scene,
)
from luthier.images.scenes.scene_request import Request, Wanted

PICTURES, CAPTIONS, LAYOUTS = "pictures.npy", "captions.jsonl", "layouts.npy"
PART = 2000  # scenes that are drawn by one process at a time
PLACED = 0.3  # chance that a lone shape without a place is asked for in one
TINTED = 0.15  # share of scenes in colours without a name
TINT = "tinted"  # the word that stands for such colours
UNNAMED = ("crescent",)  # shapes that are shown and never named: a word for them is to be learnt
OUTLINED = 0.5  # chance that such a shape's outline is told
UNNAMED_CHANCE = 0.25  # that a shape which a caption leaves open is one of them
MOST = 4  # shapes of a scene
NONE = 255  # in a layout: no shape, or a feature that no choice describes

# What a layout tells of a shape, after its column and its row on the grid.
FEATURES: dict[str, tuple[str, ...]] = {
    "shape": (*SHAPES, *UNNAMED),
    "colour": tuple(COLOURS),
    "size": tuple(SIZES),
    "texture": TEXTURES,
}


class Example(NamedTuple):
    """A picture with its caption and its layout, (MOST, 2 + features) bytes."""

    picture: Picture
    caption: str
    layout: NDArray[np.uint8]


def kept_out(request: Request) -> bool:
    """Whether a request holds a shape in a colour that the model never sees together.

    One colour of each shape is kept out, so that a measure on them says whether words combine.
    """
    return any(map(_kept_out, request.wanted))


def _kept_out(wanted: Wanted) -> bool:
    return is_kept_out(wanted.shape, wanted.colour)


def example(draw: random.Random) -> Example | None:
    """A scene by lot; None where the lot fell on what is kept out, or found no room."""
    # Few shapes first: what is learnt of one shape serves all.
    request = random_request(draw, draw.choice([1, 1, 2, 2, 3]))
    if len(request.wanted) == 1 and request.wanted[0].number == 1 and draw.random() < PLACED:
        one = dataclasses.replace(request.wanted[0], place=draw.choice(list(PLACES)))
        request = dataclasses.replace(request, wanted=(one,))
    tints = _tints(draw) if draw.random() < TINTED else None
    if tints is not None:
        plain = tuple(dataclasses.replace(w, colour=None) for w in request.wanted)
        request = dataclasses.replace(request, wanted=plain)
    scene = None if kept_out(request) else random_scene(request, draw)
    if scene is None:
        return None
    scene = _with_unnamed(scene, request, draw)
    request = with_outlines(request, [thing.shape for thing in scene.things], draw)
    picture = draw_scene(scene, tints or COLOURS)
    # A tint has no name of its own: what counts is what the reader, the judge, takes it for.
    shown = read_picture(picture).things if tints is not None else scene.things
    if any(is_kept_out(thing.shape, thing.colour) for thing in shown):
        return None
    caption = with_fillers(request.words if tints is None else f"{request.words}, {TINT}", draw)
    return Example(picture, caption, layout_of(scene, tinted=tints is not None))


def _with_unnamed(scene: Scene, request: Request, draw: random.Random) -> Scene:
    """The scene with some of the shapes that the request leaves open replaced by unnamed ones."""
    wanted = [w for w in request.wanted for _ in range(w.number)]
    wanted += [Wanted()] * (len(scene.things) - len(wanted))

    things = tuple(
        dataclasses.replace(thing, shape=draw.choice(UNNAMED))
        if asked.shape is None and draw.random() < UNNAMED_CHANCE
        else thing
        for thing, asked in zip(scene.things, wanted, strict=True)
    )
    return dataclasses.replace(scene, things=things)


def with_outlines(request: Request, shapes: Sequence[str], draw: random.Random) -> Request:
    """The request with a word for the outline of some shapes that it does not name, one that is
    true of what `shapes` has in their place: never two, which would be as good as a name."""
    wanted, at = [], 0
    for one in request.wanted:
        there = set(shapes[at : at + one.number])
        at += one.number
        true = [name for name, known in OUTLINES.items() if there <= set(known)]
        if one.shape is None and true and draw.random() < OUTLINED:
            wanted.append(dataclasses.replace(one, outline=draw.choice(true)))
        else:
            wanted.append(one)
    return dataclasses.replace(request, wanted=tuple(wanted))


def _tints(draw: random.Random) -> dict[str, tuple[int, int, int]]:
    """A colour by lot in place of each that has a name."""
    found = {}
    for name in COLOURS:
        rgb = colorsys.hsv_to_rgb(draw.random(), draw.uniform(0.55, 0.95), draw.uniform(0.55, 1))
        red, green, blue = (round(255 * c) for c in rgb)
        found[name] = (red, green, blue)
    return found


def layout_of(scene: Scene, *, tinted: bool = False) -> NDArray[np.uint8]:
    """What stands where: a row for each shape, its column and row on the grid and the number of
    each feature; rows of NONE follow."""
    found = np.full((MOST, 2 + len(FEATURES)), NONE, np.uint8)
    for row, thing in zip(found, scene.things, strict=False):
        row[:2] = int(thing.x) // STEP, int(thing.y) // STEP
        for n, (feature, known) in enumerate(FEATURES.items()):
            value = getattr(thing, feature)
            if value in known and not (tinted and feature == "colour"):
                row[2 + n] = known.index(value)
    return found


def _part(seed: str, count: int) -> list[Example]:
    draw, found = random.Random(seed), []
    while len(found) < count:
        one = example(draw)
        if one is not None:
            found.append(one)
    return found


def build(out: Path, count: int, seed: int = 0, processes: int = 1) -> None:
    """Draw `count` captions and pictures into `out`; finished files stay as they are."""
    out.mkdir(parents=True, exist_ok=True)
    if (out / CAPTIONS).exists():
        return
    pictures = np.lib.format.open_memmap(
        out / PICTURES, mode="w+", dtype=np.uint8, shape=(count, SIDE, SIDE, 3)
    )
    layouts = np.empty((count, MOST, 2 + len(FEATURES)), np.uint8)
    starts = range(0, count, PART)
    seeds = [f"scenes/{seed}/{at}" for at in starts]
    counts = [min(PART, count - at) for at in starts]
    captions: list[str] = []
    with ProcessPoolExecutor(processes) as pool:
        for part in pool.map(_part, seeds, counts):
            rows = slice(len(captions), len(captions) + len(part))
            pictures[rows] = [one.picture for one in part]
            layouts[rows] = [one.layout for one in part]
            captions += [one.caption for one in part]
    pictures.flush()
    np.save(out / LAYOUTS, layouts)
    with (out / CAPTIONS).open("w") as lines:
        lines.writelines(json.dumps(c) + "\n" for c in captions)


def captions(out: Path) -> list[str]:
    """All captions, in the order of the pictures."""
    return [json.loads(line) for line in (out / CAPTIONS).read_text().splitlines()]


def pictures(out: Path) -> NDArray[np.uint8]:
    """All pictures, (N, 64, 64, 3) bytes, read from disk as they are asked for."""
    found: NDArray[np.uint8] = np.load(out / PICTURES, mmap_mode="r")
    return found


def layouts(out: Path) -> NDArray[np.uint8]:
    """All layouts, (N, MOST, 2 + features) bytes."""
    found: NDArray[np.uint8] = np.load(out / LAYOUTS)
    return found
