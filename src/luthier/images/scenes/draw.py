"""Draw a scene: each shape is an area of the plane, sampled four times a pixel on each axis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from luthier.images.scenes.scene import BACKGROUNDS, COLOURS, HALO, SIDE, SIZES, Scene, Thing

FINE = 4  # samples a pixel on each axis
STRIPE = 5.0  # pixels from one stripe to the next
GAP = 2.0  # pixels between stripes
WALL = 2.6  # pixels of a hollow shape's outline
CHECK = 3.0  # pixels of a check
RIM = 1.25  # pixels of the line around checks
RING = 2.0  # pixels of a halo

Grid = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Picture = npt.NDArray[np.uint8]  # (SIDE, SIDE, 3)


def _star(u: Grid, v: Grid) -> Mask:
    """A star with five points: inside five half-planes but for one at most."""
    angles = np.pi * (np.arange(5) * 2 / 5 - 0.5)
    inside = [u * np.cos(a + np.pi) + v * np.sin(a + np.pi) <= 0.40 for a in angles]
    near = u**2 + v**2 <= 1.05
    found: Mask = (np.sum(inside, 0) >= 4) & near
    return found


# What lies inside a shape whose larger half-extent is 1; v points down.
AREAS: dict[str, Callable[[Grid, Grid], Mask]] = {
    "circle": lambda u, v: u**2 + v**2 <= 1,
    "square": lambda u, v: (np.abs(u) <= 0.9) & (np.abs(v) <= 0.9),
    "triangle": lambda u, v: (v <= 0.85) & (v >= -0.9) & (np.abs(u) <= (v + 0.9) / 1.75),
    "star": _star,
    "cross": lambda u, v: (
        ((np.abs(u) <= 0.32) & (np.abs(v) <= 1)) | ((np.abs(v) <= 0.32) & (np.abs(u) <= 1))
    ),
    "diamond": lambda u, v: np.abs(u) + np.abs(v) <= 1,
    # For new concepts: the embedded model has no word for these, and saw the first of them only.
    "crescent": lambda u, v: (u**2 + v**2 <= 1) & ((u - 0.75) ** 2 + v**2 > 0.5),
    "heart": lambda u, v: (
        (1.25 * u) ** 2 + (-1.25 * v + 0.1 - 0.75 * np.sqrt(np.abs(1.25 * u))) ** 2 <= 1
    ),
}


@dataclass(frozen=True, slots=True)
class Window:
    """A part of the fine canvas, with the coordinates of its samples in pixels."""

    rows: slice
    columns: slice
    x: Grid
    y: Grid


def window(thing: Thing, grow: float = 0.0) -> Window:
    """Where a thing, widened by `grow` pixels, may colour the canvas."""
    reach = 1.1 * (SIZES[thing.size] + grow) + 1
    spans = [
        (max(0, int((at - reach) * FINE)), min(SIDE * FINE, int((at + reach) * FINE)))
        for at in (thing.y, thing.x)
    ]
    y, x = np.meshgrid(*((np.arange(*span) + 0.5) / FINE for span in spans), indexing="ij")
    return Window(slice(*spans[0]), slice(*spans[1]), x, y)


def area(thing: Thing, at: Window, grow: float = 0.0) -> Mask:
    """The mask of a thing in a window, its texture left out; `grow` widens it by pixels."""
    radius = SIZES[thing.size] + grow
    found: Mask = AREAS[thing.shape]((at.x - thing.x) / radius, (at.y - thing.y) / radius)
    return found


def textured(thing: Thing, at: Window) -> Mask:
    """The mask of what is coloured."""
    inside = area(thing, at)
    if thing.texture == "striped":
        return inside & ((at.y - thing.y + 50 * STRIPE + STRIPE / 2) % STRIPE >= GAP)
    if thing.texture == "hollow":
        wall = WALL * (1.3 if thing.shape in ("triangle", "star") else 1)
        return inside & ~area(thing, at, -wall)
    if thing.texture == "checked":
        across, down = (at.x - thing.x) // CHECK, (at.y - thing.y) // CHECK
        filled: Mask = (across + down) % 2 == 0
        rim = inside & ~ndimage.binary_erosion(inside, iterations=round(RIM * FINE))
        checks: Mask = rim | (inside & filled)
        return checks
    return inside


def draw_scene(scene: Scene, colours: Mapping[str, tuple[int, int, int]] = COLOURS) -> Picture:
    """The picture of a scene, (64, 64, 3); `colours` says what the names of colours stand for."""
    canvas = np.empty((SIDE * FINE, SIDE * FINE, 3), np.float32)
    canvas[:] = BACKGROUNDS[scene.background]
    for thing in scene.things:
        at = window(thing, 2 * RING if scene.halo else 0.0)
        part = canvas[at.rows, at.columns]
        if scene.halo:
            part[area(thing, at, 2 * RING)] = HALO
            part[area(thing, at, RING)] = BACKGROUNDS[scene.background]
        part[textured(thing, at)] = colours[thing.colour]
    small = canvas.reshape(SIDE, FINE, SIDE, FINE, 3).mean((1, 3))
    picture: Picture = np.round(small).astype(np.uint8)
    return picture
