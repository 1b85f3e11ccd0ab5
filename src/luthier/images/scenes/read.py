"""Read a picture of a scene back: which shapes stand where, in which colour, size and texture.

The reader needs no model. It finds the background from the picture's border, parts the rest into
connected areas, and compares each area with drawings of every shape (`tests/test_scenes.py` counts
how often it is right on drawn scenes).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from luthier.images.scenes import draw
from luthier.images.scenes.scene import BACKGROUNDS, COLOURS, HALO, SHAPES, SIDE, SIZES, Thing

LEAST = 14  # pixels of an area that counts as a shape
FIT = 0.6  # least overlap with the best drawing; below it the area is no shape that is known
GRID = 20  # side of the small pictures that are compared
BORDER = 3  # pixels from the edge that tell the background
UNKNOWN = "unknown"
# Gaps of 3 pixels between stripes, and of 2 beside each other, are bridged: shapes stand 4 apart.
BRIDGED = np.ones((4, 3))

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Seen:
    """What was read from a picture. A thing whose shape is like none has the shape "unknown"."""

    things: tuple[Thing, ...]
    background: str
    halo: bool


def read_picture(picture: npt.NDArray[np.uint8]) -> Seen:
    """What stands in a picture of (64, 64, 3) bytes.

    ValueError for another size.
    """
    if picture.shape != (SIDE, SIDE, 3):
        raise ValueError(f"the reader reads pictures of 64 × 64 × 3, not of {picture.shape}")
    pixels = picture.astype(np.float64)
    background = _background(pixels)
    kinds = _nearest_colour(pixels, background)
    solid = (kinds >= 0) & (kinds < len(COLOURS))
    closed = ndimage.binary_closing(np.pad(solid, 4), BRIDGED)[4:-4, 4:-4]
    areas, count = ndimage.label(closed | solid, np.ones((3, 3)))
    things = []
    for number in range(1, count + 1):
        area = areas == number
        if int((area & solid).sum()) >= LEAST:
            things.append(_thing(area, solid, kinds))
    halo = background == "night" and bool((kinds == len(COLOURS)).sum() > 20)
    return Seen(tuple(things), background, halo)


def _background(pixels: npt.NDArray[np.float64]) -> str:
    edge = np.ones((SIDE, SIDE), bool)
    edge[BORDER:-BORDER, BORDER:-BORDER] = False
    known = np.array(list(BACKGROUNDS.values()), float)
    gaps = ((pixels[edge][:, None] - known) ** 2).sum(-1)
    return list(BACKGROUNDS)[int(np.bincount(gaps.argmin(1), minlength=len(known)).argmax())]


def _nearest_colour(pixels: npt.NDArray[np.float64], background: str) -> npt.NDArray[np.int64]:
    """For each pixel the number of its colour, the count of colours for a halo, −1 for the
    background. A pixel that mixes a colour with the background belongs to the colour from half on.
    """
    ground = np.array(BACKGROUNDS[background], float)
    colours = np.array(list(COLOURS.values()), float)
    if background == "night":
        colours = np.vstack([colours, np.array([HALO], float)])
    axis = colours - ground
    length = (axis**2).sum(-1)
    offset = pixels - ground
    share = np.clip((offset @ axis.T) / length, 0, 1)
    rest = ((offset[..., None, :] - share[..., None] * axis) ** 2).sum(-1)
    best = rest.argmin(-1)
    mixed = np.take_along_axis(share, best[..., None], -1)[..., 0]
    return np.where(mixed >= 0.5, best, -1)


def _thing(area: Mask, solid: Mask, kinds: npt.NDArray[np.int64]) -> Thing:
    whole = ndimage.binary_fill_holes(area)
    assert whole is not None
    rows, columns = np.where(whole)
    top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    x, y = (left + right) / 2, (top + bottom) / 2
    inner = kinds[area & solid]
    colour = list(COLOURS)[int(np.bincount(inner, minlength=len(COLOURS)).argmax())]
    radius = max(bottom - top, right - left) / 2
    size = min(SIZES, key=lambda s: abs(np.log(SIZES[s] / radius)))
    shape = _shape(whole[top:bottom, left:right])
    texture = _texture(whole, solid)
    return Thing(shape, colour, size, texture, float(x), float(y))


def _texture(whole: Mask, solid: Mask) -> str:
    """A hollow shape misses its middle, in one piece; stripes leave gaps from side to side, checks
    leave small ones inside a rim."""
    missing = whole & ~solid
    if missing.sum() < 0.12 * whole.sum():
        return "plain"
    parts, count = ndimage.label(missing)
    largest = max(int((parts == i).sum()) for i in range(1, count + 1))
    if largest > 0.7 * missing.sum():
        return "hollow"
    rows = whole.any(1)
    gaps = missing[rows].sum(1) > 0.7 * whole[rows].sum(1)  # lines that go right through
    return "checked" if count >= 3 and gaps.mean() < 0.1 else "striped"


def _shape(whole: Mask) -> str:
    seen = _resized(whole)
    fits = {name: float((seen & drawn).sum() / (seen | drawn).sum()) for name, drawn in _drawn()}
    best = max(fits, key=lambda name: fits[name])
    return best if fits[best] >= FIT else UNKNOWN


@functools.cache
def _drawn() -> tuple[tuple[str, Mask], ...]:
    """Every shape and size that may be seen, as small pictures that fill their frame."""
    found = []
    for shape in (*SHAPES, "crescent"):
        for size in SIZES:
            thing = Thing(shape, "red", size, "plain", 32, 32)
            mask = draw.area(thing, draw.window(thing))
            rows, columns = np.where(mask)
            cut = mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            found.append((shape, _resized(cut)))
    return tuple(found)


def _resized(mask: Mask) -> Mask:
    rows = ((np.arange(GRID) + 0.5) * mask.shape[0] / GRID).astype(int)
    columns = ((np.arange(GRID) + 0.5) * mask.shape[1] / GRID).astype(int)
    return mask[np.ix_(rows, columns)]
