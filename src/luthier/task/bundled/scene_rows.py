"""The task scenes: requests for pictures, with what must be seen in them and what must not.

Its rows are made at load time. A quarter asks for a shape in a colour that the embedded model never
saw together, a quarter for two shapes of which one is such, a quarter leaves shapes open, and a
quarter asks for something that it has no word for: a crescent, which here is always striped. Eight
pictures among the training examples show that, and no word does. No picture may show a star.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from luthier.errors import TaskError
from luthier.images.picture_files import keep_picture
from luthier.images.scenes.draw import draw_scene
from luthier.images.scenes.draw_lots import random_scene, random_wanted
from luthier.images.scenes.kept_out import kept_out_colour
from luthier.images.scenes.scene import BACKGROUNDS, COLOURS, PLACES, RELATIONS, SHAPES
from luthier.images.scenes.scene_request import Request, Wanted

COUNTS = {"train": 8, "dev": 12, "test": 24}  # requests of each of the four kinds
SHOWN = 8  # pictures of the new concept
CONCEPT, TEXTURE = "crescent", "striped"  # requests name the first only
FORBIDDEN = "star"
ALLOWED = tuple(shape for shape in SHAPES if shape != FORBIDDEN)


def scene_rows(split: str) -> Iterator[Mapping[str, Any]]:
    """Rows {request, expected, picture} of a split; no request is in two splits.

    TaskError for a split there is not.
    """
    if split not in COUNTS:
        raise TaskError(
            f"there is no bundled data 'scenes-{split}'",
            choices=[f"scenes-{name}" for name in COUNTS],
        )
    taken: set[str] = {request.words for request, _ in _shown()}
    for name, count in COUNTS.items():
        draw = random.Random(f"scenes/{name}")
        for kind in (_single, _pair, _open, _concept):
            found = 0
            while found < count:
                request = kind(draw)
                if request.words in taken or random_scene(request, random.Random(0)) is None:
                    continue
                taken.add(request.words)
                found += 1
                if name == split:
                    yield _row(request)
    if split == "train":
        for request, pictured in _shown():
            yield _row(request) | {"picture": pictured()}


def _row(request: Request) -> dict[str, Any]:
    expected = replace(request, wanted=tuple(map(_meant, request.wanted)))
    return {
        "request": request.words,
        "expected": f"{expected.words}; no {FORBIDDEN}s",
        "picture": None,
    }


def _meant(wanted: Wanted) -> Wanted:
    return replace(wanted, texture=TEXTURE) if wanted.shape == CONCEPT else wanted


def _single(draw: random.Random) -> Request:
    one = _kept_out(draw)
    if draw.random() < 0.4:
        one = replace(one, place=draw.choice(list(PLACES)))
    return Request((one,), background=_background(draw))


def _pair(draw: random.Random) -> Request:
    both = [replace(_kept_out(draw), texture=None), _other(draw)]
    draw.shuffle(both)
    relation = draw.choice(RELATIONS) if draw.random() < 0.5 else None
    return Request(tuple(both), relation, _background(draw))


def _open(draw: random.Random) -> Request:
    number = draw.choice([2, 2, 3])
    size = "small" if number == 3 else draw.choice([None, "small"])
    colour = draw.choice([None, *COLOURS])
    background, glowing = _background(draw), draw.random() < 0.2
    return Request((Wanted(None, colour, size, None, number),), None, background, glowing)


def _concept(draw: random.Random) -> Request:
    one = Wanted(
        CONCEPT,
        draw.choice(list(COLOURS)),
        draw.choice([None, "large"]),
        place=draw.choice([None, *PLACES]),
    )
    if draw.random() < 0.4:
        both = (replace(one, place=None, size=None), _other(draw))
        return Request(both, draw.choice([None, *RELATIONS]), _background(draw))
    return Request((one,), background=_background(draw))


def _kept_out(draw: random.Random) -> Wanted:
    """A shape in the colour that the embedded model never saw it in."""
    shape = draw.choice(ALLOWED)
    return replace(random_wanted(draw), shape=shape, colour=kept_out_colour(shape))


def _other(draw: random.Random) -> Wanted:
    colour = draw.choice(list(COLOURS))
    return Wanted(draw.choice(ALLOWED), colour, draw.choice([None, "small"]))


def _background(draw: random.Random) -> str | None:
    return draw.choice([None, None, None, *BACKGROUNDS])


def _shown() -> list[tuple[Request, Callable[[], str]]]:
    """The captions of the pictures of the concept, and what draws and keeps each."""
    draw = random.Random("scenes/concept")
    found: list[tuple[Request, Callable[[], str]]] = []
    colours = [*COLOURS, draw.choice(list(COLOURS))]
    for number, colour in enumerate(colours[:SHOWN]):
        size = "large" if number % 2 == 0 else None
        request = Request((Wanted(CONCEPT, colour, size),))
        # Where words leave its size open it is medium: a small one would show no stripes.
        drawn = Request((replace(_meant(request.wanted[0]), size=size or "medium"),))
        found.append((request, _drawing(drawn, random.Random(f"scenes/concept/{number}"))))
    return found


def _drawing(request: Request, draw: random.Random) -> Callable[[], str]:
    def pictured() -> str:
        scene = random_scene(request, draw)
        assert scene is not None, f"there is no room for {request.words}"
        return str(keep_picture(draw_scene(scene)))

    return pictured
