"""What is measured of `mini-scene`, held to a renderer of which the truth is known."""

from __future__ import annotations

import dataclasses
import json

import pytest

pytest.importorskip("diffusers")

from pretraining.scenes import card, learn_pictures, learn_words, measure, pool

from luthier.images.scenes.read import read_picture
from tests.rendered_scenes import rendered


def drawer(**chances):
    def draw(asks, guidance, steps):
        return [
            read_picture(rendered(a.text, a.seed, negative=a.negative, **chances)) for a in asks
        ]

    return draw


def test_what_is_held_out_was_never_drawn_and_what_is_seen_holds_nothing_of_it():
    for things in (1, 2):
        held = measure.requests(30, things, held_out=True, seed=0)
        assert all(pool.kept_out(r) and len(r.wanted) == things for r in held)
        assert len({(w.shape, w.colour) for r in held for w in r.wanted}) > 5
        seen = measure.requests(30, things, held_out=False, seed=0)
        assert not any(map(pool.kept_out, seen))
    assert held == measure.requests(30, 2, held_out=True, seed=0)


def test_a_renderer_that_knows_everything_succeeds_and_one_that_knows_half_does_half_the_time():
    asked = measure.requests(80, 2, held_out=True, seed=0)
    whole = measure.success(drawer(), asked, 4.0, 12)
    assert whole["all"]["share"] > 0.9
    assert whole["shapes and colours"]["share"] >= whole["all"]["share"]
    half = measure.success(drawer(knows=0.5), asked, 4.0, 12)
    assert half["shapes and colours"]["low"] < 0.5 < half["shapes and colours"]["high"] + 0.05


def test_a_negative_prompt_that_is_obeyed_removes_and_one_of_something_else_does_not():
    found = measure.removal(drawer(), range(30), 4.0, 12)
    assert found["removed"]["share"] > 0.9
    assert found["control"]["share"] < 0.1
    assert found["removed"]["of"] + found["seeds without a shape"] == 30
    deaf = measure.removal(drawer(obeys=0.0), range(30), 4.0, 12)
    assert deaf["removed"]["share"] < 0.1


def test_a_decoder_that_loses_nothing_meets_all_requests_and_one_that_blurs_does_not():
    from scipy import ndimage

    asked = measure.requests(40, 2, held_out=True, seed=0)
    assert measure.decoded(list, asked)["share"] > 0.9

    def blurred(pictures):
        return [ndimage.gaussian_filter(p, (3, 3, 0)) for p in pictures]

    assert measure.decoded(blurred, asked)["share"] < 0.4


def test_who_heeds_relations_is_told_from_who_does_not():
    asked = measure.requests(80, 2, held_out=False, seed=1)
    heeds = measure.relations(drawer(), asked, 4.0, 12)
    assert heeds["share"] == 1.0
    assert heeds["of"] > 20

    def turned(asks, guidance, steps):
        other = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
        swapped = []
        for ask in asks:
            found = next(r for r in other if r in ask.text)
            swapped.append(dataclasses.replace(ask, text=ask.text.replace(found, other[found])))
        return drawer()(swapped, guidance, steps)

    deaf = measure.relations(turned, asked, 4.0, 12)
    assert deaf["share"] < 0.2


def test_the_card_tells_what_was_measured(tmp_path):
    import torch
    from safetensors.torch import save_file

    folder, out = tmp_path / "model", tmp_path / "run"
    for part in card.PARTS:
        (folder / part).mkdir(parents=True)
        save_file({"w": torch.zeros(3, 4)}, folder / part / "weights.safetensors")
    (folder / "vae" / "config.json").write_text('{"latent_channels": 16}')
    out.mkdir()
    (out / pool.CAPTIONS).write_text('"a red circle"\n"a blue star, please"\n')
    for name in (learn_words.CHECKPOINT, learn_pictures.CHECKPOINT):
        at = json.dumps({"seconds": 120.0, "step": 40.0})
        save_file({"w": torch.zeros(1)}, out / name, metadata={"at": at, "scale": "1"})
    (out / "curve.jsonl").write_text(
        '{"seconds": 60.0, "step": 100.0, "loss": 0.25, "layout": 2.5}\n'
    )
    asked = measure.requests(6, 1, held_out=True, seed=0)
    found = {
        "guidance": 4.0, "steps": 12, "swept": [], "reader": measure.reader_accuracy(5),
        "negative": measure.removal(drawer(), range(6), 4.0, 12),
        "relations": measure.share([True, False]),
    }  # fmt: skip
    found["decoded"] = dict.fromkeys(("single", "two"), measure.decoded(list, asked))
    for name in ("single, held out", "two, held out", "single, seen", "two, seen"):
        found[name] = measure.success(drawer(), asked, 4.0, 12)
    card.write(folder, out, found)
    text = (folder / "README.md").read_text("utf-8")
    assert "A latent diffusion model of 36 parameters" in text.replace("\n", " ")
    assert "8 × 8 places of 16 numbers" in text.replace("\n", " ")
    assert "| single, held out | 1.00 [" in text
    assert "| 1 | 100 | 0.250 | 2.50 |" in text


def test_the_reader_keeps_its_promise():
    assert measure.reader_accuracy(120)["facts"]["share"] >= 0.98
