"""Measure a pipeline folder with the scene reader: what is asked for on combinations that the model
never saw, what a negative prompt takes away, and how often the reader itself is right.
"""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from luthier.images.scenes.draw import Picture, draw_scene
from luthier.images.scenes.draw_lots import random_request, random_scene
from luthier.images.scenes.read import Seen, read_picture
from luthier.images.scenes.scene import COLOURS, SHAPES
from luthier.images.scenes.scene_request import Request, Wanted
from luthier.scoring.statistics.intervals import wilson
from pretraining.scenes import pool
from pretraining.scenes.export import GUIDANCE, STEPS

BATCH = 50
SETTINGS = ((GUIDANCE, STEPS), (2.0, STEPS), (7.0, STEPS), (GUIDANCE, 6), (GUIDANCE, 12))
OPEN = ("some shapes", "two shapes", "a large shape", "three small shapes", "some shapes, glowing")


@dataclass(frozen=True)
class Amounts:
    """How many pictures each measure draws."""

    single: int = 150
    two: int = 150
    seen: int = 60  # of combinations that the model saw, of each kind
    related: int = 260  # of which half name a relation
    negative: int = 40
    swept: int = 16  # requests, and as many seeds of negatives, by guidance scale and steps
    rendered: int = 600
    seed: int = 0


@dataclass(frozen=True)
class Ask:
    """One picture to draw."""

    text: str
    seed: int
    negative: str = ""


Decode = Callable[[Sequence[Picture]], list[Picture]]
Draw = Callable[[Sequence[Ask], float, int], list[Seen]]  # at a guidance scale, in so many steps


def opened(folder: Path) -> Any:
    """The pipeline in a folder, in full precision."""
    import torch
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def reader_of(pipe: Any) -> Draw:
    """Draws with a pipeline as `diffusers` does, and reads what was drawn."""
    import torch

    def draw(asks: Sequence[Ask], guidance: float, steps: int) -> list[Seen]:
        found = []
        for first in range(0, len(asks), BATCH):
            some = asks[first : first + BATCH]
            pictures = pipe(
                [a.text for a in some],
                negative_prompt=[a.negative for a in some],
                generator=[torch.Generator().manual_seed(a.seed) for a in some],
                guidance_scale=guidance,
                num_inference_steps=steps,
                output_type="np",
            ).images
            found += [read_picture(np.round(p * 255).astype(np.uint8)) for p in pictures]
        return found

    return draw


def decoder_of(pipe: Any) -> Decode:
    """Sends pictures through a pipeline's encoder and decoder."""
    import torch

    @torch.no_grad()
    def decode(pictures: Sequence[Picture]) -> list[Picture]:
        x = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
        y = pipe.vae.decode(pipe.vae.encode(x).latent_dist.mode()).sample
        back = ((y.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1)
        return list(back.numpy())

    return decode


def decoded(decode: Decode, asked: Sequence[Request]) -> dict[str, Any]:
    """The share of requests that are met by their scene, drawn by the program, after encoding and
    decoding: no picture of the model can do better."""
    scenes = [(r, random_scene(r, random.Random(i))) for i, r in enumerate(asked)]
    drawn = [(r, draw_scene(scene)) for r, scene in scenes if scene is not None]
    back = decode([picture for _, picture in drawn])
    return share([r.met_by(read_picture(b)) for (r, _), b in zip(drawn, back, strict=True)])


def requests(count: int, things: int, *, held_out: bool, seed: int) -> list[Request]:
    """Requests for so many shapes, drawn as the training's were; all name a shape in a colour that
    the model never saw it in, or none does."""
    draw = random.Random(f"measure/{things}/{held_out}/{seed}")
    pairs = [(s, c) for s in SHAPES for c in COLOURS if pool.is_kept_out(s, c)]
    found: list[Request] = []
    while len(found) < count:
        request = random_request(draw, things)
        if sum(w.number for w in request.wanted) != things or request.open:
            continue
        if len(request.wanted) != things:
            continue
        if held_out:
            shape, colour = pairs[len(found) % len(pairs)]
            at = draw.randrange(things)
            named = dataclasses.replace(request.wanted[at], shape=shape, colour=colour)
            wanted = [*request.wanted[:at], named, *request.wanted[at + 1 :]]
            request = dataclasses.replace(request, wanted=tuple(wanted))
        if pool.kept_out(request) == held_out:
            found.append(request)
    return found


def coarse(request: Request) -> Request:
    """The same shapes and colours, and no more of the request."""
    wanted = tuple(Wanted(w.shape, w.colour) for w in request.wanted)
    return Request(wanted, open=request.open)


def share(hits: Sequence[bool]) -> dict[str, Any]:
    """A share with Wilson's 95 % interval."""
    low, high = wilson(sum(hits), len(hits))
    return {
        "share": sum(hits) / len(hits) if hits else None,
        "low": low, "high": high, "of": len(hits),
    }  # fmt: skip


def success(draw: Draw, asked: Sequence[Request], guidance: float, steps: int) -> dict[str, Any]:
    """The share of requests whose picture shows all that is asked for, and the share of those that
    show the shapes in their colours."""
    seen = draw([Ask(r.words, i) for i, r in enumerate(asked)], guidance, steps)
    return {
        "all": share([r.met_by(s) for r, s in zip(asked, seen, strict=True)]),
        "shapes and colours": share(
            [coarse(r).met_by(s) for r, s in zip(asked, seen, strict=True)]
        ),
    }


def relations(draw: Draw, asked: Sequence[Request], guidance: float, steps: int) -> dict[str, Any]:
    """Of the pictures that show all of a request for two shapes but for how they stand, the share
    in which they stand so: a half by chance."""
    asked = [request for request in asked if request.relation is not None]
    seen = draw([Ask(r.words, i) for i, r in enumerate(asked)], guidance, steps)
    return share(
        [
            r.met_by(s)
            for r, s in zip(asked, seen, strict=True)
            if dataclasses.replace(r, relation=None).met_by(s)
        ]
    )


def removal(draw: Draw, seeds: Sequence[int], guidance: float, steps: int) -> dict[str, Any]:
    """For each seed an open request, whose picture shows some shape; the same request and seed with
    that shape, or its colour, as the negative prompt. `control`: how often that shape goes where
    the negative names something that was not there, which tells what any other picture changes."""
    asks = [Ask(OPEN[i % len(OPEN)], 10_000 + seed) for i, seed in enumerate(seeds)]
    before = draw(asks, guidance, steps)
    plans = []
    for i, (ask, seen) in enumerate(zip(asks, before, strict=True)):
        known = [t for t in seen.things if t.shape in SHAPES]
        if not known:
            continue
        shapes, colours = {t.shape for t in known}, {t.colour for t in known}
        draw_lot = random.Random(f"negative/{ask.seed}")
        by_shape = i % 2 == 0
        thing = draw_lot.choice(known)
        target = thing.shape if by_shape else thing.colour
        absent = draw_lot.choice(
            [s for s in SHAPES if s not in shapes]
            if by_shape
            else [c for c in COLOURS if c not in colours]
        )
        plans.append((ask, by_shape, target, absent))

    def words(by_shape: bool, name: str) -> str:
        return (Wanted(shape=name) if by_shape else Wanted(colour=name)).words

    with_it = draw(
        [dataclasses.replace(a, negative=words(b, t)) for a, b, t, _ in plans], guidance, steps
    )
    with_other = draw(
        [dataclasses.replace(a, negative=words(b, o)) for a, b, _, o in plans], guidance, steps
    )

    def gone(seen: Seen, by_shape: bool, name: str) -> bool:
        return name not in {t.shape if by_shape else t.colour for t in seen.things}

    removed = [gone(s, b, t) for s, (_, b, t, _) in zip(with_it, plans, strict=True)]
    return {
        "removed": share(removed),
        "of shapes": share([r for r, p in zip(removed, plans, strict=True) if p[1]]),
        "of colours": share([r for r, p in zip(removed, plans, strict=True) if not p[1]]),
        "and still a shape": share(
            [r and bool(s.things) for r, s in zip(removed, with_it, strict=True)]
        ),
        "control": share(
            [gone(s, b, t) for s, (_, b, t, _) in zip(with_other, plans, strict=True)]
        ),
        "seeds without a shape": len(seeds) - len(plans),
    }


def reader_accuracy(count: int, seed: int = 0) -> dict[str, Any]:
    """How often the reader is right on drawn scenes: single facts (background, halo, the number of
    shapes, and of each its shape, colour, size and texture), and whole requests."""
    draw, facts, whole = random.Random(f"reader/{seed}"), [], []
    while len(whole) < count:
        request = random_request(draw)
        scene = random_scene(request, draw)
        if scene is None:
            continue
        seen = read_picture(draw_scene(scene))
        whole.append(request.met_by(seen))
        facts += [seen.background == scene.background, seen.halo == scene.halo]
        facts.append(len(seen.things) == len(scene.things))
        for thing in scene.things:
            near = min(
                seen.things, key=lambda t: abs(t.x - thing.x) + abs(t.y - thing.y), default=None
            )
            pairs = [] if near is None else zip(_features(near), _features(thing), strict=True)
            facts += [a == b for a, b in pairs] or [False] * 4
    return {"facts": share(facts), "whole requests": share(whole)}


def _features(thing: Any) -> tuple[str, ...]:
    return thing.shape, thing.colour, thing.size, thing.texture


def measure(folder: Path, amounts: Amounts, say: Callable[[str], None] = print) -> dict[str, Any]:
    """All measures of a pipeline folder, as plain values."""
    started, pipe = time.time(), opened(folder)
    draw, decode = reader_of(pipe), decoder_of(pipe)
    found: dict[str, Any] = {
        "guidance": GUIDANCE,
        "steps": STEPS,
        "reader": reader_accuracy(amounts.rendered, amounts.seed),
    }

    def told(name: str, value: Any) -> Any:
        say(f"{time.time() - started:5.0f} s  {name}: {value}")
        return value

    told("reader", found["reader"])
    found["decoded"] = told("decoded", {
        name: decoded(decode, requests(count, things, held_out=True, seed=amounts.seed))
        for name, count, things in (("single", amounts.single, 1), ("two", amounts.two, 2))
    })  # fmt: skip
    for name, count, things, held_out in (
        ("single, held out", amounts.single, 1, True),
        ("two, held out", amounts.two, 2, True),
        ("single, seen", amounts.seen, 1, False),
        ("two, seen", amounts.seen, 2, False),
    ):
        asked = requests(count, things, held_out=held_out, seed=amounts.seed)
        found[name] = told(name, success(draw, asked, GUIDANCE, STEPS))
    both = requests(amounts.related, 2, held_out=False, seed=amounts.seed + 1)
    found["relations"] = told("relations", relations(draw, both, GUIDANCE, STEPS))
    seeds = range(amounts.negative)
    found["negative"] = told("negative", removal(draw, seeds, GUIDANCE, STEPS))
    swept = []
    for guidance, steps in SETTINGS[1:]:
        one = {"guidance": guidance, "steps": steps}
        for things in (1, 2):
            asked = requests(amounts.swept, things, held_out=True, seed=amounts.seed)
            one["single" if things == 1 else "two"] = success(draw, asked, guidance, steps)
        one["negative"] = removal(draw, range(amounts.swept), guidance, steps)
        swept.append(told(f"guidance {guidance}, {steps} steps", one))
    found["swept"] = swept
    found["seconds"] = round(time.time() - started)
    return found
