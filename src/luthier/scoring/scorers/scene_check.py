"""Scorers of drawn scenes: a program reads the picture and checks what must be seen in it."""

from __future__ import annotations

from functools import lru_cache

from luthier.errors import TaskError
from luthier.images.picture_files import open_picture, resized
from luthier.images.scenes.expectation import Expectation, parse_expectation
from luthier.images.scenes.read import Seen, read_picture
from luthier.images.scenes.scene import SIDE
from luthier.scoring.scorer import Scorer


def all_met(prediction: str, target: str) -> float:
    """1 where the picture shows all that it must, and nothing that it must not."""
    return float(bool(prediction) and _expectation(target).met_by(_seen(prediction)))


def share_of_facts(prediction: str, target: str) -> float:
    """The share of the facts that hold: each feature of each shape, the relation, the background,
    the number of shapes, and each thing that must not be seen."""
    expectation = _expectation(target)
    if not prediction:
        return 0.0
    facts = expectation.facts(_seen(prediction))
    return sum(fact.holds for fact in facts) / len(facts) if facts else 1.0


def what_is_missed(prediction: str, target: str) -> tuple[str, ...]:
    """In words, what a picture lacks or shows too much of."""
    if not prediction:
        return ("there is no picture",)
    return _expectation(target).missed_by(_seen(prediction))


@lru_cache(maxsize=4096)
def _expectation(target: str) -> Expectation:
    try:
        return parse_expectation(target)
    except ValueError as error:
        raise TaskError(
            f"The target {target[:80]!r} cannot be checked in a scene: {error}",
            next_step="Write what must be seen and what must not, such as `a red circle above a "
            "blue square; no stars`; or choose another scorer.",
        ) from error


@lru_cache(maxsize=8192)  # a picture's path is the hash of its pixels
def _seen(path: str) -> Seen:
    pixels = open_picture(path)
    return read_picture(pixels if pixels.shape == (SIDE, SIDE, 3) else resized(pixels, SIDE))


SCENE = Scorer("scene", all_met, check_target=_expectation, remarks=what_is_missed)
SCENE_FACTS = Scorer(
    "scene-facts", share_of_facts, check_target=_expectation, remarks=what_is_missed
)
