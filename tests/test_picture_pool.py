"""What the embedded picture model learns from: what its pool holds, and what it keeps out."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

pytest.importorskip("diffusers")

from pretraining.scenes import learn_words, network, pool, words
from pretraining.scenes.layout_loss import PARTS, layout_loss

from luthier.images.scenes.draw import draw_scene
from luthier.images.scenes.kept_out import is_kept_out
from luthier.images.scenes.read import read_picture
from luthier.images.scenes.scene import COLOURS, OUTLINES, Scene, Thing
from luthier.images.scenes.scene_request import parse_request


@pytest.fixture(scope="module")
def examples():
    draw = random.Random(5)
    found = [pool.example(draw) for _ in range(900)]
    return [one for one in found if one is not None]


def shapes_of(layout):
    """(column, row, shape, colour, texture) of each shape of a layout."""
    shape, colour, texture = (pool.FEATURES[n] for n in ("shape", "colour", "texture"))
    for column, row, *rest in layout:
        if column != pool.NONE:
            named = None if rest[1] == pool.NONE else colour[rest[1]]
            yield int(column), int(row), shape[rest[0]], named, texture[rest[3]]


def test_no_picture_shows_a_shape_in_the_colour_that_is_kept_out(examples):
    seen = [s for one in examples for s in shapes_of(one.layout)]
    assert len(seen) > 1000
    assert not any(is_kept_out(shape, colour) for _, _, shape, colour, _ in seen)
    pairs = {(shape, colour) for _, _, shape, colour, _ in seen if colour}
    assert len(pairs) > 35  # of the 36 pairs that stay, and crescents


def test_tinted_pictures_name_no_colour_and_show_nothing_that_reads_as_kept_out(examples):
    tinted = [one for one in examples if pool.TINT in one.caption]
    assert 0.05 < len(tinted) / len(examples) < 0.25
    for one in tinted:
        assert not any(w.colour for w in parse_request(one.caption).wanted)
        seen = read_picture(one.picture).things
        assert not any(is_kept_out(thing.shape, thing.colour) for thing in seen)


def test_crescents_are_shown_and_never_named(examples):
    shown = [s for one in examples for s in shapes_of(one.layout) if s[2] == "crescent"]
    assert len(shown) > 20
    assert {texture for *_, texture in shown} == {"plain", "striped", "hollow"}
    assert not any("crescent" in one.caption for one in examples)


def test_an_outline_is_told_of_open_shapes_only_and_is_true(examples):
    told = 0
    for one in examples:
        things = list(shapes_of(one.layout))
        at = 0
        for wanted in parse_request(one.caption).wanted:
            there = {shape for _, _, shape, _, _ in things[at : at + wanted.number]}
            at += wanted.number
            told += wanted.outline is not None
            assert wanted.outline is None or wanted.shape is None
            assert wanted.outline is None or there <= set(OUTLINES[wanted.outline])
    assert told > 20


def test_a_layout_says_what_the_picture_shows():
    scene = Scene((Thing("star", "red", "large", "hollow", 40.0, 16.0),))
    layout = pool.layout_of(scene)
    assert list(shapes_of(layout)) == [(5, 2, "star", "red", "hollow")]
    assert (layout[1:] == pool.NONE).all()
    assert list(shapes_of(pool.layout_of(scene, tinted=True))) == [(5, 2, "star", None, "hollow")]


def test_names_of_colours_stand_for_what_they_are_told_to():
    scene = Scene((Thing("square", "red", "large", "plain", 32.0, 32.0),))
    picture = draw_scene(scene, COLOURS | {"red": (1, 2, 3)})
    assert picture[32, 32].tolist() == [1, 2, 3]
    assert draw_scene(scene)[32, 32].tolist() == list(COLOURS["red"])


def test_the_same_pool_comes_from_one_process_and_from_two(tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "PART", 10)
    for name, processes in (("one", 1), ("two", 2)):
        pool.build(tmp_path / name, 30, processes=processes)
    one, two = tmp_path / "one", tmp_path / "two"
    assert pool.captions(one) == pool.captions(two)
    assert np.array_equal(pool.pictures(one), pool.pictures(two))
    assert np.array_equal(pool.layouts(one), pool.layouts(two))


def test_logits_that_know_the_layout_lose_nothing_and_others_do(examples):
    layouts = torch.from_numpy(np.stack([one.layout for one in examples[:6]]))
    sure = torch.full((6, sum(PARTS), 8, 8), -20.0)
    for n, layout in enumerate(layouts):
        for column, row, *features in layout.tolist():
            if column == pool.NONE:
                continue
            sure[n, 0, row, column] = 20.0
            at = 1
            for value, size in zip(features, PARTS[1:], strict=True):
                if value != pool.NONE:
                    sure[n, at + value, row, column] = 20.0
                at += size
    assert float(layout_loss(sure, layouts)) < 1e-3
    assert float(layout_loss(sure.transpose(2, 3).contiguous(), layouts)) > 5
    assert float(layout_loss(torch.zeros_like(sure), layouts)) > 40


def test_threads_that_share_a_model_read_their_own_features(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    pool.build(tmp_path, 40)
    tokenizer = words.build(tmp_path)
    from safetensors.torch import save_file

    text = network.text_encoder(tokenizer)
    save_file({n: p.detach().contiguous() for n, p in text.named_parameters()},
              tmp_path / "text_encoder.safetensors")  # fmt: skip
    model = learn_words.Learner(tmp_path)
    tokens = torch.tensor(words.padded(tokenizer, pool.captions(tmp_path)))
    parts = [
        (torch.randn(2, network.CHANNELS, 8, 8), torch.tensor([900, 10]), tokens[i : i + 2])
        for i in range(0, 16, 2)
    ]
    with torch.no_grad(), ThreadPoolExecutor(4) as workers:
        alone = [model(*part) for part in parts]

        def run(part):
            with torch.no_grad():
                return model(*part)

        together = list(workers.map(run, parts))
    for (velocities, logits), (again, logits_again) in zip(alone, together, strict=True):
        torch.testing.assert_close(velocities, again)
        torch.testing.assert_close(logits, logits_again)
