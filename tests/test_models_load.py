"""Opening models by name: what cannot be opened is refused at once, with what could be."""

from __future__ import annotations

import pytest

from luthier.errors import ModelError
from luthier.models.load import load
from tests import tiny


def saved(folder):
    """A tiny base as a Hugging Face folder."""
    base = tiny.backend("llama")
    base.module.save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)
    return folder


def test_a_hub_id_that_cannot_be_had_is_refused_at_once(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("luthier.models.hub.getproxies", dict)
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    with pytest.raises(ModelError, match=r"127\.0\.0\.1 does not answer"):
        load("nobody/nothing")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE"):
        load("nobody/nothing")


def test_folders_that_are_no_model(tmp_path):
    with pytest.raises(ModelError, match="no Hugging Face checkpoint"):
        load(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="no tokenizer"):
        load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="safetensors"):
        load(tmp_path)


def test_a_gguf_file_or_folder_is_told_what_to_do(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    for place in (tmp_path, tmp_path / "model.gguf"):
        with pytest.raises(ModelError, match="GGUF file") as caught:
            load(place)
        assert "llama-server" in str(caught.value)


def test_weights_that_were_cut_short_are_told_so(tmp_path):
    path = saved(tmp_path / "base")
    whole = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="cannot be read") as caught:
        load(path)
    assert "download it again" in str(caught.value)


def test_a_base_that_moved_is_asked_for(tmp_path):
    path = saved(tmp_path / "base")
    load(path).save(tmp_path / "a")
    path.rename(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="fitted on") as caught:
        load(tmp_path / "a")
    assert "--base" in str(caught.value)
    assert load(tmp_path / "a", base=str(tmp_path / "elsewhere")).lineage is None


def test_an_adaptation_of_another_base_is_refused(tmp_path):
    load("fake").save(tmp_path / "a")
    text = (tmp_path / "a" / "luthier.yaml").read_text("utf-8")
    fingerprint = load("fake").backend.fingerprint
    (tmp_path / "a" / "luthier.yaml").write_text(text.replace(fingerprint, "f" * 64), "utf-8")
    with pytest.raises(ModelError, match="another version"):
        load(tmp_path / "a")
    assert load(tmp_path / "a", base="fake").backend.name == "fake"


def test_a_broken_or_newer_adaptation_is_named(tmp_path):
    load("fake").save(tmp_path / "a")
    path = tmp_path / "a" / "luthier.yaml"
    text = path.read_text("utf-8")
    path.write_text(text.replace("format: 3", "format: 99"), "utf-8")
    with pytest.raises(ModelError, match="newer Luthier"):
        load(tmp_path / "a")
    path.write_text("- just\n- a list\n", "utf-8")
    with pytest.raises(ModelError, match="not a saved adaptation"):
        load(tmp_path / "a")
