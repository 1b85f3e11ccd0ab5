"""The model card: what `mini-scene` is, from the records of its run and what was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file

from luthier.images.scenes.draw_lots import STEP
from luthier.images.scenes.scene import COLOURS, OUTLINES, SHAPES
from pretraining.scenes import learn_pictures, learn_words, pool

PARTS = ("unet", "vae", "text_encoder")
CARD = """---
license: apache-2.0
language: en
library_name: diffusers
pipeline_tag: text-to-image
---

# mini-scene

A latent diffusion model of {parameters:,} parameters ({bytes:.1f} MB) that draws scenes of
coloured shapes from words, 64 × 64 pixels. It ships inside Luthier so that all that is done
with pictures runs without a network, and what it draws can be checked by a program. Stable
Diffusion's form, small: an autoencoder (8 × 8 places of {channels} numbers), a denoiser of {unet:,}
parameters and a text encoder of {text:,}; half precision.

```python
from diffusers import StableDiffusionPipeline

pipe = StableDiffusionPipeline.from_pretrained(folder)
pipe("a striped red circle in the top left", guidance_scale={guidance}, num_inference_steps={steps})
```

## What it understands

One to three shapes ({shapes}), in a colour ({colours}), a size (small, large), a texture
(striped, hollow), a number (two, three), a place (`in the top left`) or a relation (left of,
right of, above, below), on a background (white, grey, beige, `at night`); `glowing` shapes have
a halo at night and none by day. `some shapes`, `a red circle and others` leave the rest open; so
does `a red shape`, or `a rounded shape`, by an outline that several share ({outlines}).
Words of praise (`please`, `high quality`, `masterpiece`) were seen beside one request in three
and mean nothing. Every other word is spelled in pieces that were never trained. The centres of
shapes stand on a grid of {grid} pixels, in the pictures it learnt from and in its own.

## Measured

Pictures of {steps} steps at guidance {guidance}, drawn with `diffusers`, seeds 0, 1, …; read by
the scene reader (`luthier.images.scenes`). Held out: a shape in a colour that the training
never showed together, one colour of each shape; the requests are drawn as those of the
training, with size, texture, place, relation and background. 95 % intervals after Wilson.

| asked for | all of it shown | shapes and colours | pictures |
|---|---|---|---|
{table}

Of pictures that show both shapes of a request, and nothing else against it, they stand as it says
(`left of`, `above`) in {relations}: a half is chance.

A negative prompt names a shape, or a colour, that the same seed shows without it, in answer to
an open request (`some shapes`): it is gone in {removed} of seeds (shapes {by_shape}, colours
{by_colour}), and a shape is still there in {still}. Named something else, the negative prompt
takes it away in {control}.

| guidance | steps | one shape, held out | two shapes, held out | negative removes |
|---|---|---|---|---|
{swept}

The reader on drawn scenes: {facts} of facts right, {whole} of requests read as met; after the
autoencoder's encoder and decoder, which no picture of the model can surpass, {decoded} of requests
for one held-out shape and {decoded_two} of those for two.

## How it was trained

On {count:,} scenes drawn by lot with their captions, by `pretraining/scenes` in Luthier's
repository: the autoencoder's decoder in {vae_steps:,} steps and {vae_minutes} minutes
(its encoder is written down in closed form), the text encoder for two minutes on what captions
mean, then denoiser and text encoder together in {steps_done:,} steps of {batch} and {minutes}
minutes. A map of the denoiser's features, thrown away since, learnt to say what stands where. It
predicts velocities under a cosine schedule, all noises weighing alike and much noise met most
often; one caption in ten is empty. What ships is the running mean of the weights.{note}

| minutes | steps | loss | loss of what stands where |
|---|---|---|---|
{curve}

## Data

All pictures and captions are drawn by the recipe; there is no other data. One scene in seven is in
colours without a name (its caption ends with `{tint}`), none of which the reader takes for the
colour that is kept out for its shape. A quarter of the shapes that captions leave open (`a red
shape`, `some shapes`) are crescents, so that a word for them can be learnt: no caption names one.
Half of the captions that leave a shape open tell its
outline, which it shares with others. Hearts and checks are drawn by the same program and were kept
out.

## What it cannot do

- Anything but these scenes: it knows {words} words, and no thing outside of them.
- More than three shapes, shapes that touch, or letters.
- Be a clean experiment: one run, one seed.
"""


def _share(found: dict[str, Any]) -> str:
    if found["share"] is None:
        return "–"
    return f"{found['share']:.2f} [{found['low']:.2f}–{found['high']:.2f}]"


def _plain(found: dict[str, Any]) -> str:
    return f"{_share(found)} of {found['of']}"


def numbers(folder: Path) -> dict[str, int]:
    """Parameters of each part."""
    return {
        part: sum(
            t.numel() for p in (folder / part).glob("*.safetensors") for t in load_file(p).values()
        )
        for part in PARTS
    }


def write(folder: Path, out: Path, found: dict[str, Any]) -> None:
    """Fill the card from the run's records in `out` and from what `measure` found."""
    at = _progress(out / learn_words.CHECKPOINT)
    vae_at = _progress(out / learn_pictures.CHECKPOINT)
    lines = (out / "curve.jsonl").read_text().splitlines() if (out / "curve.jsonl").exists() else []
    curve = [json.loads(line) for line in lines]
    if len(curve) > 10:
        curve = [curve[round(i * (len(curve) - 1) / 9)] for i in range(10)]
    sizes = numbers(folder)
    rows = [
        f"| {name} | {_share(found[name]['all'])} | {_share(found[name]['shapes and colours'])} "
        f"| {found[name]['all']['of']} |"
        for name in ("single, held out", "two, held out", "single, seen", "two, seen")
    ]
    settled = {
        "guidance": found["guidance"], "steps": found["steps"],
        "single": found["single, held out"], "two": found["two, held out"],
        "negative": found["negative"],
    }  # fmt: skip
    swept = [
        f"| {one['guidance']:g} | {one['steps']} | {_plain(one['single']['all'])} | "
        f"{_plain(one['two']['all'])} | {_plain(one['negative']['removed'])} |"
        for one in sorted(
            [settled, *found["swept"]], key=lambda one: (one["guidance"], one["steps"])
        )
    ]
    negative, reader = found["negative"], found["reader"]
    text = CARD.format(
        parameters=sum(sizes.values()), unet=sizes["unet"], text=sizes["text_encoder"],
        bytes=sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6,
        guidance=found["guidance"], steps=found["steps"],
        shapes=", ".join(SHAPES), colours=", ".join(COLOURS), table="\n".join(rows),
        removed=_plain(negative["removed"]), by_shape=_share(negative["of shapes"]),
        by_colour=_share(negative["of colours"]), still=_share(negative["and still a shape"]),
        control=_share(negative["control"]), relations=_plain(found["relations"]),
        swept="\n".join(swept),
        facts=_share(reader["facts"]), whole=_share(reader["whole requests"]),
        decoded=_share(found["decoded"]["single"]), decoded_two=_share(found["decoded"]["two"]),
        count=len(pool.captions(out)), tint=pool.TINT, outlines=", ".join(OUTLINES),
        vae_steps=int(vae_at["step"]),
        vae_minutes=round(vae_at["seconds"] / 60), steps_done=int(at["step"]),
        batch=learn_words.Settings().batch,
        channels=json.loads((folder / "vae" / "config.json").read_text())["latent_channels"],
        minutes=round(at["seconds"] / 60), note=_note(out), grid=STEP, words=len(_words(out)),
        curve="\n".join(
            f"| {row['seconds'] / 60:.0f} | {int(row['step']):,} | {row['loss']:.3f} | "
            f"{row['layout']:.2f} |"
            for row in curve
        ),
    )  # fmt: skip
    (folder / "README.md").write_text(text)
    (folder / "README.md").chmod(0o644)


def _progress(checkpoint: Path) -> dict[str, float]:
    """The steps and seconds that a checkpoint has behind it."""
    with safe_open(checkpoint, "pt") as f:
        at: dict[str, float] = json.loads(f.metadata()["at"])
    return at


def _note(out: Path) -> str:
    """What was otherwise in this run than the recipe says, where somebody wrote it down."""
    path = out / "note.md"
    return f" {path.read_text('utf-8').strip()}" if path.exists() else ""


def _words(out: Path) -> set[str]:
    captions = pool.captions(out)[:20_000]
    return {word.strip(",") for caption in captions for word in caption.split()}
