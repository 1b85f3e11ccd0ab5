"""`luthier terms` on pictures of which it is known which terms act: how many it finds, how often it
raises a false alarm, and how many pictures leaving one out takes for intervals as narrow.

    python -m benchmarks.picture_terms [--studies 40] [--pictures 512,768,1024]

A renderer draws what is asked for, or one shape in a wrong colour; the terms change how often. Of
the noise half belongs to the seed, which all variants share, and half to the variant. The pictures
are read by the scene reader.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from statistics import NormalDist, mean
from typing import Any

from luthier.images.drawing import Drawing, Pixels
from luthier.images.scenes.draw import draw_scene
from luthier.images.scenes.scene_request import parse_request
from luthier.images.scripted_scenes import ScriptedScenes
from luthier.models.model import Model
from luthier.records import Example
from luthier.scoring.terms import PictureDesign, PictureStudy, study_picture_terms
from luthier.task.task import Task

# What a term adds to the chance that a picture is right, in standard deviations of the noise.
ALONE = {"sharp edges": 0.9, "watercolour": -0.9}
AVOIDED = {"blur": 0.9}  # in the negative prompt
TOGETHER = {("studio light", "calm mood"): 1.5}  # and nothing by themselves
INERT = ("please", "4k")
INERT_NEGATIVE = ("ugly",)
LEVEL = -1.5
POSITIVE = (*ALONE, *next(iter(TOGETHER)), *INERT)
NEGATIVE = (*AVOIDED, *INERT_NEGATIVE)
ACTING = {*ALONE, *AVOIDED, *(term for pair in TOGETHER for term in pair)}


@dataclass(eq=False)
class PlantedScenes(ScriptedScenes):
    """A scripted model whose terms act as the tables above say."""

    name: str = "planted-scenes"

    def picture(self, drawing: Drawing) -> Pixels:
        """The picture of one drawing: right, or with one shape in a wrong colour."""
        prompt, negative = drawing.prompt.lower(), drawing.negative.lower()
        gain = LEVEL + sum(v for term, v in ALONE.items() if term in prompt)
        gain += sum(v for term, v in AVOIDED.items() if term in negative)
        gain += sum(v for pair, v in TOGETHER.items() if all(term in prompt for term in pair))
        noise = _normal(f"{drawing.seed}") + _normal(f"{drawing.seed}|{prompt}|{negative}")
        return _scene(parse_request(prompt).words, drawing.seed, gain + noise / math.sqrt(2) > 0)


def _normal(text: str) -> float:
    """A standard normal number that depends on a text alone."""
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    return NormalDist().inv_cdf((number + 0.5) / 2**64)


@lru_cache(maxsize=8192)
def _scene(words: str, seed: int, right: bool) -> Pixels:
    errors = 0.0 if right else 2.0
    return draw_scene(ScriptedScenes(errors=errors).scene(Drawing(words, seed=seed)))


def planted_task(requests: int = 24) -> Task:
    """Requests for two shapes each, with nothing that a term could change in their words."""
    from luthier.images.scenes.scene import COLOURS, SHAPES

    words = [f"a {a} {s} left of a {b} {t}" for a, b in pairwise(COLOURS)
             for s, t in pairwise(SHAPES)][:requests]  # fmt: skip
    dev = tuple(Example(f"d{i}", text, text) for i, text in enumerate(words))
    rows = [(text, text) for text in words]
    task = Task.from_examples(rows, name="planted", kind="image", scorer="scene", instruction="4k")
    return dataclasses.replace(task, dev=dev).without_test()


def study(
    task: Task, pictures: int, *, design: str = "factorial", seed: int = 0, columns: int = 0,
    folder: Path | None = None,
) -> PictureStudy:  # fmt: skip
    """One study of the planted terms."""
    from luthier.models.adaptation import Decoding
    from luthier.models.prompt import Prompt

    model = Model(PlantedScenes(folder=folder)).adapt(
        prompt=Prompt(instruction=POSITIVE[0]), decoding=Decoding(guidance_scale=4.0)
    )
    return study_picture_terms(
        model, task,
        PictureDesign(pictures, design, POSITIVE[1:], NEGATIVE, columns=columns, seed=seed),
    )  # fmt: skip


def found_by(done: PictureStudy) -> tuple[set[str], set[tuple[str, str]]]:
    """The terms, and the pairs, that a study says act."""
    names = [term.text for term in done.study.terms]
    effects = done.study.effects
    return (
        {names[e.term] for e in effects.effects if e.acts},
        {(names[p.first], names[p.second]) for p in effects.pairs if p.acts},
    )


def width(done: PictureStudy) -> float:
    """The mean width of the intervals of single terms."""
    return mean(e.high - e.low for e in done.study.effects.effects)


def detection(task: Task, pictures: int, seeds: Sequence[int], folder: Path) -> dict[str, Any]:
    """The shares of acting terms found, of inert ones called out, and of studies with the pair.

    Other pairs are no false alarms: terms that act alone are not additive in a share of pictures,
    which ends at 0 and at 1.
    """
    hits, alarms, pairs, others = [], [], [], []
    inert = {*INERT, *INERT_NEGATIVE}
    for seed in seeds:
        terms, joint = found_by(study(task, pictures, seed=1000 * seed, folder=folder))
        hits.append(len(terms & ACTING) / len(ACTING))
        alarms.append(len(terms & inert) / len(inert))
        pairs.append(float(set(TOGETHER) <= joint))
        others.append(float(bool(joint - set(TOGETHER))))
    return {
        "pictures": pictures, "studies": len(seeds), "acting found": mean(hits),
        "false alarms": mean(alarms), "pair found": mean(pairs),
        "studies with another pair": mean(others),
    }  # fmt: skip


def against_leave_one_out(
    task: Task, pictures: int, seeds: Sequence[int], folder: Path
) -> dict[str, Any]:
    """How many times the pictures of a factorial design leaving one out takes for equal widths."""
    wide = {
        design: mean(
            width(study(task, pictures, design=design, seed=1000 * s, folder=folder)) for s in seeds
        )
        for design in ("factorial", "leave-one-out")
    }
    used = pictures // (len(POSITIVE) + len(NEGATIVE) + 1) * (len(POSITIVE) + len(NEGATIVE) + 1)
    times = (wide["leave-one-out"] / wide["factorial"]) ** 2 * used / pictures
    return {"pictures": pictures, **{f"width {d}": w for d, w in wide.items()},
            "leave-one-out takes times as many": times}  # fmt: skip


def main() -> None:
    """Print one JSON object a measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.picture_terms", description=__doc__)
    parser.add_argument("--studies", type=int, default=40)
    parser.add_argument("--pictures", default="512,768,1024")
    a = parser.parse_args()
    task = planted_task()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for pictures in map(int, a.pictures.split(",")):
            print(json.dumps(detection(task, pictures, range(a.studies), folder)), flush=True)
        compared = against_leave_one_out(task, 504, range(max(2, a.studies // 4)), folder)
        print(json.dumps(compared), flush=True)


if __name__ == "__main__":
    main()
