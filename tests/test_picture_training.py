"""Training on pictures: the loss, what trains, and what is saved and loaded again."""

from __future__ import annotations

import pytest

pytest.importorskip("diffusers")

import numpy as np
import torch

from luthier.context import WorkContext, working
from luthier.models.load import load
from luthier.records import Budget
from luthier.techniques.image.picture_lora import PictureLoRA
from luthier.techniques.image.picture_weights import PictureFullFineTuning
from luthier.techniques.image.textual_inversion import TextualInversion, shared_word
from luthier.testing import check_technique
from luthier.training.objectives import DenoisingLoss
from tests.picture_training import crescent_task
from tests.tiny_pictures import saved, stable_diffusion

TECHNIQUES = [PictureLoRA(), PictureFullFineTuning(), TextualInversion(starts=("circle", "star"))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = saved(stable_diffusion(), tmp_path_factory.mktemp("base") / "tiny")
    (place / "drawing.json").write_text('{"steps": 3, "guidance_scale": 2.0}')
    return place


@pytest.fixture
def model(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "cache" / "responses.sqlite"))
    return load(str(folder))


def weights_of(model):
    parts = model.backend.pipeline
    return {
        f"{name}.{key}": value.clone()
        for name in ("unet", "text_encoder", "vae")
        for key, value in getattr(parts, name).state_dict().items()
    }


@pytest.mark.parametrize("technique", TECHNIQUES, ids=lambda t: t.name)
def test_a_fit_keeps_the_contract_and_leaves_the_base(technique, model, tmp_path):
    task = crescent_task(tmp_path / "data")
    before, bare = weights_of(model), model.ask("a red crescent")
    fitted = check_technique(technique, model=model, task=task, budget=Budget(tokens=1500))
    after = weights_of(model)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert fitted.ask("a red crescent") != bare  # a picture is named by its pixels
    assert model.ask("a red crescent") == bare


class Killed(BaseException):
    """Not an Exception, as a kill is none."""


@pytest.mark.parametrize("technique", TECHNIQUES, ids=lambda t: t.name)
def test_a_killed_fit_ends_like_an_unbroken_one(technique, model, tmp_path, monkeypatch):
    monkeypatch.setattr("luthier.training.checkpoint.SECONDS_BETWEEN", 0.0)
    task, budget = crescent_task(tmp_path / "data").without_test(), Budget(tokens=1500)
    whole = technique.fit(model, task, budget=budget)

    def die(done, total, message):
        if done > 0.5 * total:
            raise Killed

    with working(WorkContext(progress=die, folder=tmp_path / "work")), pytest.raises(Killed):
        technique.fit(model, task, budget=budget)
    assert (tmp_path / "work" / "fit.safetensors").is_file()
    with working(WorkContext(folder=tmp_path / "work")):
        resumed = technique.fit(model, task, budget=budget)
    assert tensors_of(resumed).keys() == tensors_of(whole).keys()
    for name, found in tensors_of(resumed).items():
        assert torch.allclose(found, tensors_of(whole)[name], atol=1e-6), name


def tensors_of(model):
    slots = model.adaptation
    if slots.soft_prompt is not None:
        return {"word": slots.soft_prompt.tensor}
    return dict((slots.adapter or slots.weights).tensors)


def test_a_word_learns_from_the_gradient_of_the_loss(model, tmp_path):
    """The error at one noise falls when the word's vectors follow its gradient, and the objective's
    rows are read once."""
    from luthier.images.learned_word import word_in_place
    from luthier.models.adaptation import Adaptation
    from luthier.training.denoising.denoising_trials import DenoisingTrials
    from luthier.training.parameters import SoftPromptParameters

    task, objective = crescent_task(tmp_path / "data"), DenoisingLoss(empty=0.0)
    width = model.backend.pipeline.text_encoder.config.hidden_size
    word = SoftPromptParameters(torch.randn(2, width), bottleneck=None)
    with (
        model.backend.session(Adaptation()) as session,
        word_in_place(session.pipeline, "crescent", word.tokens),
    ):
        trials = DenoisingTrials(
            session, word, objective=objective, cost_factor=2, learns_words=True,
            dev_pictures=lambda model, examples: (None, 0),
        )  # fmt: skip
        rows = objective.rows(model, session, task.train, virtual_tokens=0)
        assert objective.rows(model, session, task.train, virtual_tokens=0) is rows
        optimiser, losses = torch.optim.Adam(word.parameters(), lr=0.1), []
        for _ in range(15):
            trials.step = 0  # the same noise again
            loss = objective.loss(rows, trials.logprobs(rows, [0])[0])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
        assert losses[-1] < losses[0]
        assert trials.cost(rows, [0]) == 2 * len(rows)


def test_what_is_saved_opens_without_luthier(model, folder, tmp_path):
    import diffusers
    import peft

    task = crescent_task(tmp_path / "data", dev=0)
    budget = Budget(tokens=400)
    for technique in TECHNIQUES:
        technique.fit(model, task, budget=budget).save(tmp_path / technique.name)
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(folder)
    adapted = peft.PeftModel.from_pretrained(pipe.unet, tmp_path / "picture-lora" / "adapter")
    assert adapted.peft_config["default"].r == 8
    fork = diffusers.UNet2DConditionModel.from_pretrained(tmp_path / "picture-full" / "weights")
    assert fork.config.cross_attention_dim == pipe.unet.config.cross_attention_dim
    fresh = diffusers.StableDiffusionPipeline.from_pretrained(folder)
    fresh.load_textual_inversion(str(tmp_path / "textual-inversion" / "learned_embeds.safetensors"))
    assert "<crescent>_3" in fresh.tokenizer.added_tokens_encoder


def test_min_snr_weighs_what_each_prediction_means():
    loss, snr = DenoisingLoss(snr_limit=5.0), torch.tensor([0.1, 5.0, 50.0])
    as_clean = loss.weight(snr, "sample")
    assert as_clean.tolist() == pytest.approx([0.1, 5.0, 5.0])
    assert (loss.weight(snr, "epsilon") * snr).tolist() == pytest.approx(as_clean.tolist())
    assert (loss.weight(snr, "v_prediction") * (snr + 1)).tolist() == pytest.approx(
        as_clean.tolist()
    )


def test_without_a_limit_all_times_count_alike():
    snr = torch.tensor([0.1, 5.0, 50.0])
    assert DenoisingLoss().weight(snr, "v_prediction").tolist() == [1.0, 1.0, 1.0]


def test_errors_of_epsilon_v_and_clean_are_one_error_in_other_units():
    """ε, v and x₀ of one noisy latent: the weighted errors of one wrong x₀ agree."""
    alpha = torch.tensor(0.7)
    a, b = alpha.sqrt(), (1 - alpha).sqrt()
    clean, noise, wrong = torch.randn(3, 64)
    noisy = a * clean + b * noise
    implied = (noisy - a * wrong) / b  # the noise that a wrong x₀ implies
    loss, snr = DenoisingLoss(snr_limit=5.0), (alpha / (1 - alpha)).unsqueeze(0)
    errors = {
        "sample": (wrong - clean).square().mean(),
        "epsilon": (implied - noise).square().mean(),
        "v_prediction": ((a * implied - b * wrong) - (a * noise - b * clean)).square().mean(),
    }
    weighted = [float(loss.weight(snr, kind)) * float(error) for kind, error in errors.items()]
    assert weighted == pytest.approx([weighted[0]] * 3, rel=1e-4)


@pytest.mark.parametrize(
    ("captions", "word"),
    [
        (["a red crescent", "two crescents at night"], "crescent"),
        (["a crescent and a star", "a star above a crescent"], "star"),
    ],
)
def test_the_word_that_captions_share(captions, word):
    assert shared_word(captions) == word


def test_a_learnt_word_is_read_as_its_vectors_and_nothing_else_changes(model):
    from luthier.images.learned_word import word_in_place

    pipeline = model.backend.pipeline

    def states(text):
        with torch.no_grad():
            return pipeline.encode_prompt(text, "cpu", 1, False)[0].numpy()

    plain, other = states("a red circle"), states("a blue star")
    table = pipeline.text_encoder.get_input_embeddings().weight
    ids = pipeline.tokenizer("circle", add_special_tokens=False).input_ids
    with word_in_place(pipeline, "circle", table[ids].clone()):
        assert np.allclose(states("a red circle"), plain)  # its own vectors
        assert np.allclose(states("a blue star"), other)
    with word_in_place(pipeline, "circle", torch.ones(2, table.shape[1])):
        assert not np.allclose(states("a red circle"), plain)
        assert np.allclose(states("a blue star"), other)
    assert np.array_equal(states("a red circle"), plain)


def test_a_task_without_pictures_is_passed_over(tmp_path):
    task = crescent_task(tmp_path)
    bare = task.__class__.from_examples(
        [(f"{i} circles", "a circle") for i in range(24)],
        name="t", instruction="sharp", kind="image", scorer=lambda p, t: 1.0,
    )  # fmt: skip
    assert PictureLoRA().unmet_by_task(task) is None
    assert "no training pictures" in PictureLoRA().unmet_by_task(bare)


def test_few_pictures_are_looked_at_often_by_default(tmp_path):
    task = crescent_task(tmp_path / "data")
    shown = sum(bool(e.picture) for e in task.train)
    assert PictureLoRA().enough_passes(task) == 1600 / shown > 3
