"""Scenes: what is drawn is read back, and what is asked for is checked."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from luthier.images.scenes.draw import draw_scene
from luthier.images.scenes.draw_lots import FILLERS, random_request, random_scene, with_fillers
from luthier.images.scenes.expectation import parse_expectation
from luthier.images.scenes.read import UNKNOWN, Seen, read_picture
from luthier.images.scenes.scene import OUTLINES, Scene, Thing, stands
from luthier.images.scenes.scene_request import Request, Wanted, parse_request


def drawn(count, seed=0):
    """Requests with a scene that meets each."""
    draw, found = random.Random(seed), []
    while len(found) < count:
        request = random_request(draw)
        scene = random_scene(request, draw)
        if scene is not None:
            found.append((request, scene))
    return found


def test_the_reader_is_right_on_drawn_scenes():
    right = total = whole = 0
    pairs = drawn(250)
    for request, scene in pairs:
        seen = read_picture(draw_scene(scene))
        whole += not request.missed_by(seen)
        total += 2
        right += (seen.background == scene.background) + (seen.halo == scene.halo)
        for thing in scene.things:
            total += 5
            if len(seen.things) == len(scene.things):
                near = min(seen.things, key=lambda t: abs(t.x - thing.x) + abs(t.y - thing.y))
                right += 1 + (near.shape == thing.shape) + (near.colour == thing.colour)
                right += (near.size == thing.size) + (near.texture == thing.texture)
    assert right / total >= 0.98
    assert whole / len(pairs) >= 0.95


def test_every_request_is_read_from_its_words():
    draw = random.Random(3)
    for request, _ in drawn(200, seed=2):
        assert parse_request(request.words) == request
        assert parse_request(with_fillers(request.words, draw, 1.0)) == request
    assert not any(word in "red circle square" for word in FILLERS)


def test_a_scene_in_place_of_another_does_not_pass():
    pairs = drawn(120, seed=5)
    wrong = [
        not request.met_by(read_picture(draw_scene(other)))
        for (request, _), (_, other) in pairwise(pairs)
        if len(request.wanted) > 1
    ]
    assert np.mean(wrong) > 0.95


ONE = Thing("circle", "red", "medium", "plain", 20, 32)
TWO = Thing("square", "blue", "medium", "plain", 46, 32)


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ("a red circle left of a blue square", True),
        ("a blue square left of a red circle", False),
        ("a red circle", False),
        ("a red circle and others", True),
        ("two shapes", True),
        ("two red circles", False),
        ("a red circle and a blue square on a grey background", False),
        ("some shapes on a white background", True),
        ("a rounded shape left of a blue square", True),
        ("a red rounded shape and others", True),
        ("a pointed shape and others", False),
        ("a notched shape and a shape", False),
    ],
)
def test_what_is_asked_for_is_checked(text, met):
    seen = read_picture(draw_scene(Scene((ONE, TWO))))
    request = parse_request(text)
    assert request.met_by(seen) is met
    assert bool(request.missed_by(seen)) is not met


def test_a_word_for_an_outline_is_one_fact_and_draws_one_of_its_shapes():
    draw = random.Random(1)
    for outline, shapes in OUTLINES.items():
        request = parse_request(f"a large red {outline} shape")
        assert request.words == f"a large red {outline} shape"
        assert {random_scene(request, draw).things[0].shape for _ in range(60)} <= set(shapes)
    facts = parse_expectation("a red pointed shape").facts(Seen((ONE,), "white", halo=False))
    assert {fact.words: fact.holds for fact in facts} == {
        "a red pointed shape: red": True,
        "a red pointed shape: pointed": False,
        "no more shapes than that": True,
    }


def test_a_halo_is_seen_at_night_only():
    for background in ("night", "white"):
        scene = Scene((ONE,), background, glowing=True)
        assert read_picture(draw_scene(scene)).halo is (background == "night")


def test_a_shape_like_none_is_unknown_and_a_wrong_size_is_refused():
    picture = draw_scene(Scene(()))
    picture[10:12, 5:60] = (222, 42, 42)
    picture[12:50, 30:32] = (222, 42, 42)
    assert {t.shape for t in read_picture(picture).things} == {UNKNOWN}
    with pytest.raises(ValueError, match="64"):
        read_picture(np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(ValueError, match="names no shape"):
        parse_request("a wardrobe")


def test_relations_need_a_distance():
    assert stands("left of", ONE, TWO)
    assert not stands("left of", ONE, replace(TWO, x=22.0))
    assert Request((Wanted("circle"),)).words == "a circle"
