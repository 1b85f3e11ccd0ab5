"""Draw requests by lot, and scenes that meet them.

Shapes stand on a grid, so that a small model sees each shape cut by the pixels in one way only.
"""

from __future__ import annotations

import dataclasses
import random

from luthier.images.scenes.scene import (
    BACKGROUNDS,
    COLOURS,
    OUTLINES,
    PLACES,
    RELATIONS,
    SHAPES,
    SIDE,
    SIZES,
    TEXTURES,
    Scene,
    Thing,
    stands,
)
from luthier.images.scenes.scene_request import Request, Wanted

STEP = 8  # pixels: centres stand on a grid of so many
MARGIN = 4.0  # pixels between two shapes, at least
EDGE = 3.0  # pixels between a shape and the picture's edge
JITTER = 5.0  # pixels that a shape in a place may stand off it
TRIES = 60

# Words that say nothing about a scene. The embedded model learnt that they do nothing.
FILLERS = ("please", "high quality", "detailed", "masterpiece", "sharp", "beautiful", "4k")


def random_wanted(draw: random.Random, full: float = 0.8) -> Wanted:
    """One shape; `full` is the chance that its shape is named, and so for its colour."""
    size = draw.choice([None, None, "small", "large"])
    texture = draw.choice([None, None, None, "striped", "hollow"]) if size != "small" else None
    return Wanted(
        draw.choice(SHAPES) if draw.random() < full else None,
        draw.choice(list(COLOURS)) if draw.random() < full else None,
        size,
        texture,
    )


def random_request(draw: random.Random, most: int = 3) -> Request:
    """A request for one to `most` shapes, or for none in particular."""
    kind = draw.random()
    wanted: list[Wanted] = []
    relation = None
    if kind < 0.06:
        pass
    elif kind < 0.44 or most == 1:
        one = random_wanted(draw, 0.9)
        chance = draw.random()
        if chance < 0.2:
            one = dataclasses.replace(one, place=draw.choice(list(PLACES)))
        elif chance < 0.35 and most > 1:
            number = draw.choice([2, 2, 3]) if most > 2 and one.size != "large" else 2
            one = dataclasses.replace(one, number=number)
        wanted = [one]
    elif kind < 0.9 or most == 2:
        wanted = [random_wanted(draw), random_wanted(draw)]
        if draw.random() < 0.5:
            relation = draw.choice(RELATIONS)
    else:
        wanted = [
            dataclasses.replace(
                random_wanted(draw), size=draw.choice([None, "small"]), texture=None
            )
            for _ in range(3)
        ]
    free = not wanted or (sum(w.number for w in wanted) < most and draw.random() < 0.1)
    background = draw.choice([None, None, *BACKGROUNDS])
    return Request(tuple(wanted), relation, background, draw.random() < 0.12, free)


def random_scene(request: Request, draw: random.Random) -> Scene | None:
    """A scene that meets a request, all that it leaves open drawn by lot; None where no place for
    its shapes was found."""
    slots = [w for w in request.wanted for _ in range(w.number)]
    if not slots:
        slots = [Wanted() for _ in range(draw.randint(1, 3))]
    elif request.open:
        slots.append(Wanted())
    background = request.background or draw.choices(list(BACKGROUNDS), [6, 1, 1, 1])[0]
    for _ in range(TRIES):
        things: list[Thing] = []
        for wanted in slots:
            thing = _placed(wanted, things, draw, crowded=len(slots) > 2)
            if thing is None:
                break
            things.append(thing)
        if len(things) < len(slots):
            continue
        last = things[request.wanted[0].number] if request.relation else things[-1]
        if request.relation is None or stands(request.relation, things[0], last):
            return Scene(tuple(things), background, request.glowing)
    return None


def _placed(
    wanted: Wanted, others: list[Thing], draw: random.Random, *, crowded: bool
) -> Thing | None:
    sizes = ["small", "medium"] if crowded else ["small", "medium", "medium", "large"]
    if wanted.texture in TEXTURES[1:]:
        sizes = sizes[1:]
    size = wanted.size or draw.choice(sizes)
    textures = ["plain"] if size == "small" else ["plain"] * 6 + ["striped", "hollow"]
    texture = wanted.texture or draw.choice(textures)
    shape = wanted.shape or draw.choice(
        [s for s in SHAPES if wanted.outline is None or s in OUTLINES[wanted.outline]]
    )
    colour = wanted.colour or draw.choice(list(COLOURS))
    radius = SIZES[size]
    low, high = radius + EDGE, SIDE - radius - EDGE
    for _ in range(12):
        if wanted.place is not None:
            x, y = (
                draw.choice(_on_grid(max(low, at - JITTER), min(high, at + JITTER)))
                for at in PLACES[wanted.place]
            )
        else:
            x, y = (draw.choice(_on_grid(low, high)) for _ in range(2))
        if all(max(abs(x - o.x), abs(y - o.y)) >= radius + SIZES[o.size] + MARGIN for o in others):
            return Thing(shape, colour, size, texture, x, y)
    return None


def _on_grid(low: float, high: float) -> list[float]:
    """The places of the grid from `low` to `high`."""
    return [float(at) for at in range(0, SIDE, STEP) if low <= at <= high]


def with_fillers(text: str, draw: random.Random, chance: float = 0.3) -> str:
    """The text with words that say nothing before or after it."""
    if draw.random() >= chance:
        return text
    words = draw.sample(FILLERS, draw.choice([1, 1, 2]))
    if draw.random() < 0.3:
        return f"{words[0]}, {text}"
    return ", ".join([text, *words])
