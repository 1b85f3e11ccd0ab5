"""Training of the embedded picture model goes on from a pipeline that was exported."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pretraining.scenes import (
    export,
    learn_meaning,
    learn_pictures,
    learn_words,
    linear_code,
    network,
    pool,
    warm_start,
    words,
)

from luthier.images.scenes.scene_request import parse_request


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A pool, and a pipeline with random weights over its code."""
    out = tmp_path_factory.mktemp("scenes")
    pool.build(out, 60)
    tokenizer, code = words.build(out), linear_code.fit(pool.pictures(out))
    vae = network.autoencoder()
    linear_code.write(code, vae)
    vae.register_to_config(scaling_factor=0.7)
    made = export.build(vae, network.text_encoder(tokenizer), tokenizer, network.denoiser())
    made.save_pretrained(out / "model")
    return out, code, made


def test_a_code_is_read_back_out_of_the_autoencoder(run):
    out, code, made = run
    found, pictures = linear_code.read(made.vae), np.array(pool.pictures(out)[:8])
    np.testing.assert_allclose(found.encode(pictures), code.encode(pictures), atol=1e-3)


def test_a_run_goes_on_from_an_exported_pipeline(run, tmp_path):
    out, _, made = run
    pool.build(tmp_path, 60)
    warm_start.begin(tmp_path, out / "model")
    learner = learn_words.Learner(tmp_path)
    mean = learn_words.Learner(tmp_path)
    learn_words.restore(tmp_path / learn_words.CHECKPOINT, learner, mean)
    for ours, theirs in ((learner.denoiser, made.unet), (mean.text, made.text_encoder)):
        for name, weight in theirs.named_parameters():
            assert torch.equal(ours.get_parameter(name), weight), name
    learn_pictures.write_latents(tmp_path)
    s = learn_words.Settings(batch=4, warm=1, checkpoint_seconds=1e9)
    learn_words.train(tmp_path, 0.05, 1.0, s)
    again = export.pipeline(tmp_path)
    assert again.vae.config.scaling_factor == 0.7
    moved = again.unet.conv_in.weight - made.unet.conv_in.weight
    assert 0 < float(moved.detach().abs().max()) < 0.1
    with pytest.raises(FileExistsError, match="has begun"):
        warm_start.begin(tmp_path, out / "model")


def test_captions_say_what_they_mean():
    first = learn_meaning.meaning(parse_request("a small red circle above a star at night"))
    second = learn_meaning.meaning(parse_request("a small red circle below a star at night"))
    assert len(first) == len(learn_meaning.CHOICES)
    assert sum(a != b for a, b in zip(first, second, strict=True)) == 1
    assert all(0 <= a < most for a, most in zip(first, learn_meaning.CHOICES, strict=True))
