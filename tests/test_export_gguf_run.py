"""`luthier export RUN/lora --to gguf` of a run on a Llama: llama.cpp answers the test set with the
file, label for label. What cannot be written as GGUF is told, with what can be exported instead."""

from __future__ import annotations

import json

import pytest

from luthier.cli.main import run as luthier_command
from luthier.compare.run_comparison import compare
from luthier.serving.export.llama_rescoring import llama_place
from tests import tiny
from tests.compare_stubs import toy_task

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A comparison of zero-shot and LoRA on a tiny Llama, from beginning to end."""
    base, folder = tmp_path_factory.mktemp("llama"), tmp_path_factory.mktemp("runs") / "toys"
    backend = tiny.backend("llama")
    backend.module.save_pretrained(base)
    backend.tokenizer.save_pretrained(base)
    compare(
        toy_task(), str(base), techniques=["zero-shot", "lora(rank=4)"], seeds=1,
        budget="40ktok", out=folder,
    )  # fmt: skip
    return folder


@pytest.mark.skipif(
    llama_place() is None, reason="needs npm install node-llama-cpp@3.21.1, LUTHIER_NODE_MODULES"
)
@pytest.mark.parametrize("technique", ["lora-rank-4", "zero-shot"])
def test_llama_cpp_answers_the_test_set_label_for_label(run_folder, tmp_path, capsys, technique):
    command = ["export", str(run_folder / technique), "--to", "gguf", "--json"]
    assert luthier_command([*command, "--out", str(tmp_path / "out")]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["scored_with"].startswith("llama.cpp")
    assert said["equal"] + said["ties"] == said["examples"] > 10
    assert said["equal"] >= said["examples"] - 1  # ties, where there is one, are rare
    assert (tmp_path / "out" / "model.gguf").stat().st_size > 10_000
    card = (tmp_path / "out" / "MODEL_CARD.md").read_text("utf-8")
    assert f"{said['equal']} of {said['examples']} test answers" in card


def test_without_llama_cpp_the_file_is_written_and_it_is_said(
    run_folder, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("luthier.serving.export.export_model.llama_place", lambda: None)
    command = ["export", str(run_folder / "zero-shot"), "--to", "gguf", "--json"]
    assert luthier_command([*command, "--out", str(tmp_path / "out")]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["equal"] is None
    assert "npm install node-llama-cpp" in said["scored_with"]
    assert (tmp_path / "out" / "model.gguf").is_file()


def test_nano_is_refused_with_what_it_can_be_exported_to(tmp_path, capsys):
    import luthier
    from luthier.models.adaptation import Decoding
    from luthier.models.prompt import Prompt

    model = luthier.load("nano").adapt(
        prompt=Prompt("Route the message."), decoding=Decoding(labels=("a", "b"))
    )
    model.save(tmp_path / "model")
    out = ["--out", str(tmp_path / "out")]
    assert luthier_command(["export", str(tmp_path / "model"), "--to", "gguf", *out]) == 2
    said = capsys.readouterr().err
    assert "llama.cpp has no OPT architecture" in said
    assert "choices: merged" in said
    assert "--to merged" in said
    assert "Transformers, vLLM" in said
    assert not (tmp_path / "out").exists()
    assert luthier_command(["export", str(tmp_path / "model"), "--to", "merged", *out]) == 0
