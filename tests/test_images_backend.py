"""The backend of pictures: its contract, how models are opened, how adaptations are drawn with."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("diffusers")

import luthier
from luthier.errors import CapabilityError, ModelError
from luthier.images.picture_backend import PictureBackend
from luthier.images.picture_files import open_picture
from luthier.images.scenes.read import read_picture
from luthier.images.scenes.scene_request import parse_request
from luthier.images.scripted_scenes import ScriptedScenes
from luthier.models.adaptation import Decoding
from luthier.models.fake import FakeBackend
from luthier.models.load import EMBEDDED, load
from luthier.models.model import Model
from luthier.models.prompt import Demonstration, Prompt
from luthier.records import Capability, Example
from luthier.testing import check_backend
from tests import tiny_pictures


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_pictures.saved(tiny_pictures.stable_diffusion(), tmp_path_factory.mktemp("sd"))


@pytest.fixture
def copied(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def backend(kind="stable_diffusion"):
    return PictureBackend(getattr(tiny_pictures, kind)(), name=kind)


def pixels(response):
    return open_picture(response.prediction)


@pytest.mark.parametrize("kind", ["stable_diffusion", "stable_diffusion_xl", "pixart", "flux"])
def test_every_kind_of_pipeline_keeps_the_contract(kind):
    check_backend(backend(kind))


def test_the_scripted_model_keeps_the_contract():
    check_backend(ScriptedScenes())


def test_a_folder_of_diffusers_is_opened_by_its_index(folder):
    model = load(folder)
    assert model.capabilities == {Capability.DRAWING, Capability.DENOISING}
    assert model.backend.facts.architecture == "StableDiffusionPipeline"
    assert model.backend.fingerprint == backend().fingerprint
    assert model.backend.tokens_per_second() > 0
    response = model.adapt(decoding=Decoding(steps=2)).respond("a red circle", seed=3)
    assert pixels(response).shape == (16, 16, 3)
    assert response.usage.generated_tokens == 4


def test_how_a_folder_is_drawn_with_stands_in_it(copied):
    (copied / "drawing.json").write_text('{"steps": 3, "guidance_scale": 2.5}', "utf-8")
    painter = load(copied).backend.painter
    assert (painter.defaults.steps, painter.defaults.guidance_scale) == (3, 2.5)
    (copied / "drawing.json").write_text('{"steps": 0}', "utf-8")
    with pytest.raises(ModelError, match=r"drawing\.json"):
        load(copied)


def edit(folder, **keys):
    path = folder / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | keys), "utf-8")


def test_code_of_a_model_is_never_run(copied, tmp_path):
    (copied / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')", "utf-8")
    edit(copied, _class_name=["mine", "Mine"])
    with pytest.raises(ModelError, match="never run"):
        load(copied)
    edit(copied, _class_name="StableDiffusionPipeline", unet=["mine", "Mine"])
    with pytest.raises(ModelError, match="parts from mine"):
        load(copied)
    assert not (tmp_path / "ran").exists()


def test_folders_that_cannot_be_opened(copied, tmp_path):
    weights = copied / "unet" / "diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=r"cannot be read|Could not open"):
        load(copied)
    weights.unlink()
    (weights.parent / "diffusion_pytorch_model.bin").write_bytes(whole)
    with pytest.raises(ModelError, match="safetensors"):
        load(copied)
    (copied / "model_index.json").write_text("{", "utf-8")
    with pytest.raises(ModelError, match="no index of a pipeline"):
        load(copied)


def test_the_embedded_picture_model_says_where_it_would_be(monkeypatch, tmp_path):
    monkeypatch.setitem(EMBEDDED, "mini-scene", tmp_path / "nowhere")
    with pytest.raises(ModelError, match="not installed") as caught:
        load("mini-scene")
    assert "nano" in caught.value.choices


def test_the_embedded_picture_model_is_found_by_name(monkeypatch, folder):
    monkeypatch.setitem(EMBEDDED, "mini-scene", folder)
    assert load("mini-scene").backend.name == "mini-scene"


def test_one_example_has_one_noise_whatever_is_asked_in_words():
    asked = []

    class Spy(ScriptedScenes):
        def generate(self, requests, adaptation):
            asked.append(
                [(r.prompt.text, r.negative and r.negative.text, r.seed) for r in requests]
            )
            return super().generate(requests, adaptation)

    examples = [Example("1", "a red circle", ""), Example("2", "a red circle", "")]
    model = Model(Spy())
    model.answer(examples)
    model.adapt(prompt=Prompt(instruction="sharp", negative="blurry")).answer(examples)
    model.answer(examples, seed=1)
    plain, terms, other = asked
    assert [words for words, _, _ in terms] == ["a red circle, sharp"] * 2
    assert [negative for _, negative, _ in terms] == ["blurry"] * 2
    assert [seed for *_, seed in plain] == [seed for *_, seed in terms]
    assert len({seed for *_, seed in plain + other}) == 4


def test_adaptations_are_drawn_with():
    model = Model(backend()).adapt(decoding=Decoding(steps=3, guidance_scale=4.0))
    plain = pixels(model.respond("a red circle"))
    negative = pixels(model.adapt(prompt=Prompt(negative="blurry")).respond("a red circle"))
    stronger = model.adapt(decoding=Decoding(steps=3, guidance_scale=8.0))
    assert (plain != negative).any()
    assert (plain != pixels(stronger.respond("a red circle"))).any()
    late = model.adapt(
        prompt=Prompt(negative="blurry"),
        decoding=replace(model.adaptation.decoding, negative_from=0.6),
    )
    assert (pixels(late.respond("a red circle")) != negative).any()


def test_a_negative_prompt_that_changes_nothing_is_told():
    model = Model(backend("flux")).adapt(decoding=Decoding(steps=1))
    model.respond("a red circle")
    assert model.backend.notes == ()
    model.adapt(prompt=Prompt(negative="blurry")).respond("a red circle")
    assert "negative prompt changes nothing" in model.backend.notes[0]


@pytest.mark.parametrize(
    ("slots", "says"),
    [
        ({"prompt": Prompt(demonstrations=(Demonstration("a", "b"),))}, "demonstrations"),
        ({"decoding": Decoding(votes=3, temperature=0.7)}, "votes"),
        ({"decoding": Decoding(thinking_tokens=5)}, "thinking_tokens"),
    ],
)
def test_what_is_for_text_is_refused(slots, says):
    with pytest.raises(CapabilityError, match=says):
        Model(ScriptedScenes()).adapt(**slots).respond("a red circle")


def test_adaptations_are_saved_and_opened_with_their_base(tmp_path):
    model = Model(FakeBackend()).adapt(
        prompt=Prompt(negative="blurry"), decoding=Decoding(guidance_scale=3.0, negative_from=0.4)
    )
    again = luthier.load(model.save(tmp_path / "saved"))
    assert again.adaptation.decoding == model.adaptation.decoding
    assert again.adaptation.prompt == model.adaptation.prompt


def share(backend, count=60, **slots):
    """The share of pictures that show what was asked for."""
    model, words = Model(backend).adapt(**slots), "a red circle and a blue square"
    examples = [Example(str(i), words, "") for i in range(count)]
    request = parse_request(words)
    seen = [read_picture(pixels(r)) for r in model.answer(examples)]
    return float(np.mean([request.met_by(s) for s in seen]))


def test_the_scripted_model_errs_as_it_is_told():
    assert share(ScriptedScenes(errors=0.0)) >= 0.95
    errs = ScriptedScenes(errors=0.5, terms={"sharp": -0.4}, avoided={"blurry": -0.3})
    assert 0.3 < share(errs) < 0.7
    assert share(errs, prompt=Prompt(instruction="sharp")) > 0.75
    assert share(errs, prompt=Prompt(negative="blurry")) > 0.65
    off = Decoding(guidance_scale=1.0)
    assert share(errs, prompt=Prompt(negative="blurry"), decoding=off) < 0.7
