"""A task with pictures to learn from, on the tiny pipelines."""

from __future__ import annotations

import random
from dataclasses import replace

from luthier.images.picture_files import keep_picture
from luthier.images.scenes.draw import draw_scene
from luthier.images.scenes.scene import COLOURS, Scene, Thing
from luthier.records import Example
from luthier.task.task import Task


def crescents(folder, count=8, seed=0):
    """Pictures of crescents with captions, each in a colour and size of its own."""
    draw = random.Random(seed)
    looks = [(colour, size) for size in ("large", "medium") for colour in COLOURS]
    found = []
    for i, (colour, size) in enumerate(looks[:count]):
        thing = Thing("crescent", colour, size, "checked", draw.uniform(18, 46), 32)
        path = keep_picture(draw_scene(Scene((thing,))), folder)
        head = "a large" if size == "large" else "a"
        caption = f"{head} checked {colour} crescent"
        found.append(Example(f"c{i}", caption, "a crescent", picture=str(path)))
    return found


def crescent_task(folder, dev=2, scorer=lambda prediction, target: 1.0, **keys):
    """Learn crescents from eight pictures."""
    colours = ("red", "blue")
    rows = [(f"a crescent above {i} stars", "a crescent") for i in range(24)]
    task = Task.from_examples(
        rows, name="crescents", instruction="sharp", kind="image", scorer=scorer, **keys
    )
    asked = [Example(f"d{i}", f"a {colours[i]} crescent", "a crescent") for i in range(dev)]
    return replace(task, train=tuple(crescents(folder)), dev=tuple(asked))
