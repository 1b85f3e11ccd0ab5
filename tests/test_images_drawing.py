"""Drawing: each picture as the plain loop of diffusers makes it, whatever is drawn beside it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("diffusers")

from luthier.errors import CapabilityError, UserError
from luthier.images import latent_loop
from luthier.images.batches import draw_in_batches
from luthier.images.drawing import Drawing
from luthier.images.painter import Painter
from tests import tiny_pictures

BOTH = [
    Drawing(prompt, negative=negative, seed=seed, steps=4, guidance_scale=3.0)
    for prompt in ("a red circle", "a blue star at night")
    for negative in ("", "blurry")
    for seed in (1, 2)
]


def plain(pipeline, drawing, **more):
    """The picture of the pipeline's own call."""
    arguments = {
        "negative_prompt": drawing.negative or None,
        "num_inference_steps": drawing.steps,
        "guidance_scale": drawing.guidance_scale,
        "generator": torch.Generator().manual_seed(drawing.seed),
    }
    shown = pipeline(drawing.prompt, **(arguments | more))
    return np.asarray(shown.images[0])


def gap(picture, other):
    return int(np.abs(picture.astype(int) - other.astype(int)).max())


@pytest.mark.parametrize(
    "scheduler",
    [
        "DDIMScheduler", "DPMSolverMultistepScheduler", "EulerAncestralDiscreteScheduler",
        "HeunDiscreteScheduler", "PNDMScheduler",
    ],
)  # fmt: skip
def test_pictures_are_those_of_the_plain_loop(scheduler):
    pipeline = tiny_pictures.stable_diffusion(scheduler)
    drawn = Painter(pipeline).draw(BOTH)
    for picture, drawing in zip(drawn, BOTH, strict=True):
        assert gap(picture, plain(pipeline, drawing)) <= 1
    assert gap(drawn[0], drawn[2]) > 1  # the negative prompt acts
    assert gap(drawn[0], drawn[4]) > 1  # and so does the prompt


def test_batches_change_nothing_and_equal_drawings_are_drawn_once():
    pipeline = tiny_pictures.stable_diffusion()
    whole, single = Painter(pipeline), Painter(pipeline, batch=1)
    drawn = whole.draw([*BOTH, BOTH[3]])
    for picture, other in zip(drawn, single.draw([*BOTH, BOTH[3]]), strict=True):
        assert gap(picture, other) <= 1
    assert (drawn[-1] == drawn[3]).all()
    assert single.passes == 8 * 2 * 4
    # At the first step, drawings of one seed share what they share: 2 prompts and 2 negatives.
    assert whole.passes == 8 * 2 * 3 + 2 * 4


def test_texts_are_encoded_once(monkeypatch):
    pipeline = tiny_pictures.stable_diffusion()
    painter, texts = Painter(pipeline), []
    encode = pipeline.encode_prompt

    def counted(prompt, *rest, **more):
        texts.extend(prompt)
        return encode(prompt, *rest, **more)

    monkeypatch.setattr(pipeline, "encode_prompt", counted)
    painter.draw(BOTH)
    painter.draw(BOTH)
    assert sorted(texts) == sorted({"", "blurry", "a red circle", "a blue star at night"})
    painter.forget()
    painter.draw(BOTH[:1])
    assert texts.count("a red circle") == 2


def test_the_window_of_a_negative_prompt():
    painter = Painter(tiny_pictures.stable_diffusion())
    drawing = replace(BOTH[2], steps=6)
    whole, never = painter.draw([drawing, replace(drawing, negative="")])
    closed, late, early, all_of_it = painter.draw(
        [
            replace(drawing, negative_from=0.5, negative_until=0.5),
            replace(drawing, negative_from=0.5),
            replace(drawing, negative_until=0.5),
            replace(drawing, negative_from=0.0, negative_until=1.0),
        ]
    )
    assert (closed == never).all()
    assert (all_of_it == whole).all()
    assert gap(late, early) > 0
    assert gap(late, never) > 0
    assert gap(late, whole) > 0


def test_no_guidance_is_one_branch():
    painter = Painter(tiny_pictures.stable_diffusion())
    pipeline = painter.pipeline
    drawing = replace(BOTH[2], guidance_scale=1.0)
    picture = painter.draw([drawing])[0]
    assert painter.passes == 4
    assert painter.passes_of(drawing) == 4
    assert gap(picture, plain(pipeline, replace(drawing, negative=""))) <= 1


@pytest.mark.parametrize("kind", ["stable_diffusion_xl", "pixart", "flux"])
def test_other_pipelines_are_called(kind):
    pipeline = getattr(tiny_pictures, kind)()
    painter = Painter(pipeline)
    drawn = painter.draw(BOTH)
    more = {"use_resolution_binning": False} if kind == "pixart" else {}
    more |= {"negative_prompt": ""} if kind == "pixart" else {}
    for picture, drawing in zip(drawn[:2], BOTH[:2], strict=True):
        assert gap(picture, plain(pipeline, drawing, **more)) <= 1
    assert gap(drawn[0], drawn[4]) > 0
    assert (gap(drawn[0], drawn[2]) > 0) == painter.negatives
    if painter.negatives:
        with pytest.raises(CapabilityError, match="own loop"):
            painter.draw([replace(BOTH[2], negative_from=0.5)])
        with pytest.raises(CapabilityError, match="none below 1"):
            painter.draw([replace(BOTH[2], guidance_scale=0.5)])


@pytest.mark.parametrize("kind", ["distilled", "flux"])
def test_distilled_guidance_has_no_negative_branch(kind):
    painter = Painter(getattr(tiny_pictures, kind)())
    assert not painter.negatives
    first, second = painter.draw([BOTH[0], BOTH[2]])
    assert (first == second).all()
    assert painter.passes == 4  # one drawing of one branch


def test_flux_without_guidance_in_its_weights_has_a_negative_branch():
    painter = Painter(tiny_pictures.flux(False))
    assert painter.negatives
    first, second = painter.draw([BOTH[0], BOTH[2]])
    assert gap(first, second) > 0


def test_a_filter_of_the_pipeline_is_kept(monkeypatch):
    pipeline = tiny_pictures.stable_diffusion()
    monkeypatch.setattr(
        pipeline, "run_safety_checker", lambda image, *_: (image * 0, [True] * len(image))
    )
    assert Painter(pipeline).draw(BOTH[:1])[0].max() == 0


def test_a_batch_that_does_not_fit_is_halved(monkeypatch):
    pipeline = tiny_pictures.stable_diffusion()
    expected = Painter(pipeline).draw(BOTH)
    sizes = []
    drawn = latent_loop.LatentLoop._draw_batch

    def limited(self, drawings):
        sizes.append(len(drawings))
        if len(drawings) > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return drawn(self, drawings)

    monkeypatch.setattr(latent_loop.LatentLoop, "_draw_batch", limited)
    found = Painter(pipeline).draw(BOTH)
    assert max(gap(a, b) for a, b in zip(found, expected, strict=True)) <= 1
    assert sizes == [8, 4, 2, 2, 2, 2]


def test_a_single_picture_that_does_not_fit_says_so():
    def fails(items):
        raise MemoryError

    with pytest.raises(UserError, match="memory"):
        draw_in_batches([1], fails, key=lambda i: 0, most=1)
    with pytest.raises(RuntimeError, match="another"):
        draw_in_batches([1], lambda items: raised(RuntimeError("another")), key=str, most=1)


def raised(error):
    raise error


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"guidance_scale": -1.0}, "guidance_scale is -1"),
        ({"negative_from": 0.8, "negative_until": 0.2}, "0.8 to 0.2"),
    ],
)
def test_settings_that_cannot_be_followed(settings, says):
    with pytest.raises(UserError, match=says):
        Drawing("a red circle", **settings)
