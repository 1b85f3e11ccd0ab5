"""Exports answer as the model did, each with the program it is for; what cannot be carried is
refused in words."""

from __future__ import annotations

import json

import pytest
import torch
import transformers

import luthier
from luthier.errors import CapabilityError, UserError
from luthier.models.adaptation import Adaptation, Decoding, Head, VirtualTokens
from luthier.models.model import Model
from luthier.models.prompt import Demonstration, Prompt
from luthier.records import SampleScore
from luthier.serving.export.export_model import export_model
from luthier.serving.export.export_targets import refusal
from luthier.serving.export.llama_rescoring import llama_place
from luthier.serving.export.ollama_folder import modelfile
from tests import tiny
from tests.test_continuous_engine import lora, prefix

LABELS = ("billing", "delivery", "refunds-and-returns", "account access")
TEXTS = ["where is my parcel", "give me my money back", "the app fails", "", "x y z 0123"] * 2
SHOWN = (Demonstration("my card was charged twice", "billing"),)


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """Folders of tiny bases, so that other programs open them too."""
    folders = {}
    for family in ("llama", "qwen3", "gemma3", "gpt2", "opt"):
        backend = tiny.backend(family)
        folder = tmp_path_factory.mktemp(family)
        config = backend.module.config
        if hasattr(config, "query_pre_attn_scalar"):
            config.query_pre_attn_scalar = config.head_dim
        backend.module.save_pretrained(folder)
        backend.tokenizer.save_pretrained(folder)
        folders[family] = folder
    return folders


@pytest.fixture(scope="module")
def base(bases):
    return {family: luthier.load(folder).backend for family, folder in bases.items()}


def labelled(backend, **slots):
    prompt = Prompt("Route the message.", labels=LABELS, demonstrations=SHOWN)
    return Model(backend, Adaptation(prompt, decoding=Decoding(labels=LABELS), **slots))


def samples(model):
    texts = [text or "nothing" for text in TEXTS]
    return [
        SampleScore(str(i), text, "", r.text, r.parsed, r.parseable, 0.0)
        for i, text in enumerate(texts)
        for r in [model.respond(text)]
    ]


def exported(model, target, out):
    done = export_model(model, target, out, samples=samples(model))
    assert (out / "MODEL_CARD.md").is_file()
    return done


def test_merged_weights_answer_with_plain_transformers(base, tmp_path):
    model = labelled(base["llama"], adapter=lora(base["llama"], 1))
    done = exported(model, "merged", tmp_path / "out")
    assert (done.rescored.equal, done.rescored.examples) == (len(TEXTS), len(TEXTS))
    opened = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert opened.config.model_type == "llama"
    card = (tmp_path / "out/MODEL_CARD.md").read_text("utf-8")
    assert f"{len(TEXTS)} of {len(TEXTS)} test answers" in card
    assert "plain Transformers" in card


def test_an_export_that_answers_otherwise_says_so(base, tmp_path):
    model = labelled(base["llama"])
    wrong = [
        SampleScore(s.example_id, s.input, "", "", "no such label", True, 0.0)
        for s in samples(model)
    ]
    done = export_model(model, "merged", tmp_path / "out", samples=wrong)
    assert done.rescored.equal == 0


@pytest.mark.parametrize("kind", ["lora", "prefix"])
def test_adapters_answer_with_plain_peft(base, tmp_path, kind):
    made = {"lora": lora, "prefix": prefix}[kind](base["llama"], 1)
    done = exported(labelled(base["llama"], adapter=made), "peft", tmp_path / "out")
    assert done.rescored.equal == done.rescored.examples == len(TEXTS)


def test_a_soft_prompt_answers_with_plain_peft(base, tmp_path):
    soft = VirtualTokens(torch.randn(1, 4, base["gpt2"].facts.hidden_size))
    model = labelled(base["gpt2"], soft_prompt=soft)
    for target in ("peft", "vllm"):
        done = exported(model, target, tmp_path / target)
        assert done.rescored.equal == done.rescored.examples == len(TEXTS)
    assert "enable-prompt-embeds" in (tmp_path / "vllm/serve.sh").read_text("utf-8")


def test_free_text_is_the_same_with_plain_transformers(base, tmp_path):
    decoding = Decoding(max_new_tokens=8, stop=("q",))
    model = Model(base["llama"], Adaptation(Prompt("Answer."), decoding=decoding))
    done = exported(model, "merged", tmp_path / "out")
    assert done.rescored.equal == done.rescored.examples == len(TEXTS)


def test_vllm_gets_the_adapter_and_the_command(base, tmp_path):
    model = labelled(base["llama"], adapter=lora(base["llama"], 1))
    done = exported(model, "vllm", tmp_path / "out")
    assert done.rescored.equal == len(TEXTS)
    line = (tmp_path / "out/serve.sh").read_text("utf-8")
    assert "--enable-lora --lora-modules tuned=./adapter --max-lora-rank 8" in line


@pytest.mark.slow
@pytest.mark.skipif(llama_place() is None, reason="needs npm install node-llama-cpp@3.21.1")
@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma3", "gpt2"])
def test_llama_cpp_answers_label_for_label(base, tmp_path, family):
    adapter = None if family == "gpt2" else lora(base[family], 1)
    model = labelled(base[family], adapter=adapter)
    done = exported(model, "gguf", tmp_path / "out")
    assert done.words.startswith("llama.cpp")
    assert done.rescored.equal == done.rescored.examples == len(TEXTS)


def test_a_modelfile_holds_template_parameters_and_stops(base):
    model = labelled(base["llama"])
    text = modelfile(model)
    template = text.partition('TEMPLATE """')[2].partition('"""')[0]
    with model.backend.session(model.adaptation) as session:
        from luthier.models.answering import render_for

        (rendered,) = render_for(model, [luthier.Example("", "some words", "")])
        assert template.replace("{{ .Prompt }}", "some words") == session.text(rendered)
    assert "PARAMETER temperature 0\n" in text
    assert 'PARAMETER stop "\\n"' in text
    assert text.startswith("FROM ./model.gguf\n")


def test_what_a_target_cannot_carry_is_refused_in_words(base, tmp_path):
    llama = base["llama"]
    soft = VirtualTokens(torch.randn(1, 2, llama.facts.hidden_size))
    votes = VirtualTokens(torch.randn(2, 2, llama.facts.hidden_size))
    head = Head(torch.zeros(4, llama.facts.hidden_size), torch.zeros(4), LABELS, 1)
    cases = [
        (labelled(llama, soft_prompt=soft), "merged", "virtual tokens"),
        (labelled(llama, soft_prompt=soft), "peft", "BOS"),
        (labelled(llama, soft_prompt=votes), "peft", "vote"),
        (labelled(llama, head=head), "gguf", "classifier"),
        (labelled(llama, adapter=prefix(llama, 1)), "gguf", "prefix tuning"),
        (labelled(llama), "peft", "no adapter"),
        (labelled(base["opt"]), "gguf", "OPT"),
        (luthier.load("fake"), "merged", "not on this machine"),
    ]
    for model, target, words in cases:
        assert words in (refusal(model, target) or "")
        with pytest.raises(CapabilityError, match=words):
            export_model(model, target, tmp_path / "never")
    assert not (tmp_path / "never").exists()
    with pytest.raises(UserError, match="onnx"):
        export_model(labelled(llama), "onnx", tmp_path / "never")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/file").write_text("x")
    with pytest.raises(UserError, match="exists"):
        export_model(labelled(llama), "merged", tmp_path / "taken")


def test_the_peft_folder_names_its_base(base, bases, tmp_path):
    model = labelled(base["llama"], adapter=lora(base["llama"], 1))
    export_model(model, "peft", tmp_path / "out")
    config = json.loads((tmp_path / "out/adapter_config.json").read_text("utf-8"))
    assert config["base_model_name_or_path"] == str(bases["llama"])
    assert "not scored again" in (tmp_path / "out/MODEL_CARD.md").read_text("utf-8")
