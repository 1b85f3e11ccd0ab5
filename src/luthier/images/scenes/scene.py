"""What a scene is made of. Places and radii are in pixels of a picture 64 pixels wide."""

from __future__ import annotations

from dataclasses import dataclass

SIDE = 64  # pixels

SHAPES = ("circle", "square", "triangle", "star", "cross", "diamond")
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (222, 42, 42),
    "orange": (250, 146, 20),
    "yellow": (250, 222, 40),
    "green": (34, 158, 62),
    "blue": (36, 84, 220),
    "purple": (146, 58, 190),
    "pink": (250, 120, 190),
}
BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "white": (252, 252, 252),
    "grey": (150, 152, 156),
    "beige": (226, 208, 172),
    "night": (18, 22, 70),
}
HALO = (255, 255, 255)  # the ring around a glowing shape
SIZES: dict[str, float] = {"small": 6.0, "medium": 9.0, "large": 13.0}  # half of the larger extent
# What is true of several shapes: a word for each that names none of them.
OUTLINES: dict[str, tuple[str, ...]] = {
    "rounded": ("circle", "crescent", "heart"),
    "pointed": ("triangle", "star", "diamond", "crescent", "heart"),
    "notched": ("star", "cross", "crescent", "heart"),
}
TEXTURES = ("plain", "striped", "hollow")  # a small shape is plain
PLACES: dict[str, tuple[float, float]] = {
    "in the centre": (32, 32),
    "in the top left": (17, 17),
    "in the top right": (47, 17),
    "in the bottom left": (17, 47),
    "in the bottom right": (47, 47),
}
RELATIONS = ("left of", "right of", "above", "below")
NUMBERS = {"two": 2, "three": 3}
NEAR = 12.0  # a shape stands in a place when its centre is so near on each axis


@dataclass(frozen=True, slots=True)
class Thing:
    """One shape of a scene. `x` and `y` are its centre, from the left and from the top."""

    shape: str
    colour: str
    size: str
    texture: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Scene:
    """Shapes that do not touch, before a background. `glowing` shapes have a halo at night, and
    none elsewhere."""

    things: tuple[Thing, ...]
    background: str = "white"
    glowing: bool = False

    @property
    def halo(self) -> bool:
        """Whether halos are seen."""
        return self.glowing and self.background == "night"


def stands(relation: str, first: Thing, second: Thing) -> bool:
    """Whether `first` is left of, right of, above or below `second`, by more than 4 pixels."""
    dx, dy = first.x - second.x, first.y - second.y
    return {"left of": dx < -4, "right of": dx > 4, "above": dy < -4, "below": dy > 4}[relation]


def has_outline(outline: str, thing: Thing) -> bool:
    """Whether a word for an outline is true of a thing."""
    return thing.shape in OUTLINES[outline]


def stands_in(place: str, thing: Thing) -> bool:
    """Whether a thing's centre is near a place."""
    x, y = PLACES[place]
    return abs(thing.x - x) <= NEAR and abs(thing.y - y) <= NEAR
