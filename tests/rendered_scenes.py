"""Scenes drawn by the renderer in place of a model: a request becomes the picture that it asks for,
and what a negative prompt names is left out, with chances that a test may set."""

from __future__ import annotations

import dataclasses
import random

from luthier.images.scenes.draw import draw_scene
from luthier.images.scenes.draw_lots import random_scene
from luthier.images.scenes.scene import Scene
from luthier.images.scenes.scene_request import parse_request


def rendered(text, seed=0, *, negative="", obeys=1.0, knows=1.0):
    """The picture of a text. With chance `knows` it shows what is asked for, else some shapes; with
    chance `obeys` what `negative` names is not there. The same text and seed give the same one."""
    lots = random.Random(f"{seed}")
    known, obeyed = lots.random() < knows, lots.random() < obeys
    request = parse_request(text if known else "some shapes")
    scene = None
    while scene is None:
        scene = random_scene(request, lots)
    if negative and obeyed:
        unwanted = parse_request(negative).wanted
        bare = [dataclasses.replace(w, number=1) for w in unwanted]
        scene = Scene(
            tuple(t for t in scene.things if not any(w.fits(t) for w in bare)),
            scene.background, scene.glowing,
        )  # fmt: skip
    return draw_scene(scene)
