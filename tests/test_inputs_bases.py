"""What identifies a base, what fits it, and inputs longer than its context."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch

from luthier.content import Usage
from luthier.engine.base_fingerprint import fingerprint_of
from luthier.engine.local_backend import LocalBackend
from luthier.engine.shortening import GAP, shortened, without_middle
from luthier.errors import ModelError
from luthier.models.adaptation import Adaptation, Adapter, Decoding, Weights
from luthier.models.answering import render_for
from luthier.models.backend import GenerateRequest, ScoreRequest
from luthier.models.fake import FakeBackend
from luthier.models.load import load
from luthier.models.model import Model
from luthier.models.prompt import Demonstration, Prompt, PromptFormat
from luthier.records import Budget, Example
from luthier.scoring import evaluate
from luthier.scoring.notes import usage_notes
from luthier.task.task import Task
from luthier.techniques.prompt.few_shot import FewShot
from tests import tiny

pytestmark = pytest.mark.inputs
LONG = "amber birch cedar dune green card " * 60
SLOTS = {"r": 2, "lora_alpha": 4, "peft_type": "LORA", "task_type": "CAUSAL_LM"}


@pytest.fixture(scope="module")
def base():
    return tiny.backend("llama")


def changed(base, change):
    module, words = copy.deepcopy(base.module), copy.deepcopy(base.tokenizer)
    change(module, words)
    return fingerprint_of(module, words)


def one_row(module, words):
    module.get_input_embeddings().weight.data[317] += 1


def one_weight(module, words):
    module.model.layers[1].mlp.down_proj.weight.data[3, 5] *= 2


def one_norm(module, words):
    module.model.norm.weight.data[7] = 3


def another_template(module, words):
    words.chat_template = "{{ messages }}"


def another_word(module, words):
    words.add_tokens(["<new>"])


def another_end(module, words):
    words.eos_token = "<pad>"


@pytest.mark.parametrize(
    "change", [one_row, one_weight, one_norm, another_template, another_word, another_end]
)
def test_a_changed_base_has_another_fingerprint(base, change):
    assert changed(base, change) != fingerprint_of(base.module, base.tokenizer)


def half(module, words):
    module.to(torch.bfloat16)


def another_version(module, words):
    module.config.transformers_version = "9.9"
    module.config.dtype = torch.float16
    module.config._name_or_path = "/elsewhere"


def frozen(module, words):
    module.requires_grad_(False)
    module.train()


def other_names(module, words):
    module.renamed = module.model
    del module.model


def padded(module, words):
    words.pad_token = "</s>"
    words.padding_side = "left"


@pytest.mark.parametrize("change", [half, another_version, frozen, other_names, padded])
def test_what_does_not_change_a_base_does_not_change_its_fingerprint(base, change):
    assert changed(base, change) == fingerprint_of(base.module, base.tokenizer)


def lora_of(base, **changes):
    import peft

    module = copy.deepcopy(base.module)
    wrapped = peft.get_peft_model(
        module, peft.LoraConfig(r=2, task_type="CAUSAL_LM", target_modules=["q_proj", "v_proj"])
    )
    tensors = peft.get_peft_model_state_dict(wrapped, save_embedding_layers=False)
    config = {**SLOTS, "target_modules": ["q_proj", "v_proj"], **changes}
    return config, {name: t + 0.1 for name, t in tensors.items()}


def score(base, adaptation):
    prompt = Prompt(instruction="Route.", labels=("billing", "delivery"))
    model = Model(base, adaptation).adapt(prompt=prompt, decoding=Decoding(labels=prompt.labels))
    return model.respond("my card").label_logprobs


@pytest.mark.parametrize(
    "change",
    [
        lambda t: {name.replace("model.layers", "layers"): v for name, v in t.items()},
        lambda t: {name.replace("q_proj", "query"): v for name, v in t.items()},
        lambda t: dict(list(t.items())[1:]),
        lambda t: {**t, "base_model.model.model.layers.9.self_attn.q_proj.lora_A.weight": 0 + v}
        if (v := next(iter(t.values()))) is not None else t,
        lambda t: {name: v[:, :1] for name, v in t.items()},
        lambda t: {f"unet.{name}": v for name, v in t.items()},
    ],
)  # fmt: skip
def test_an_adapter_whose_keys_do_not_fit_is_refused(base, change):
    config, tensors = lora_of(base)
    fitting = score(base, Adaptation(adapter=Adapter(config, tensors)))
    assert fitting != score(base, Adaptation())
    with pytest.raises(ModelError, match="does not fit this base"):
        score(base, Adaptation(adapter=Adapter(config, change(tensors))))
    assert score(base, Adaptation()) != fitting  # and nothing of it stayed


@pytest.mark.parametrize("name", ["lm_hat.weight", "model.layers.9.mlp.up_proj.weight"])
def test_a_fork_whose_keys_do_not_fit_is_refused(base, name):
    with pytest.raises(ModelError, match="does not fit"):
        score(base, Adaptation(weights=Weights({name: torch.zeros(3, 3)})))


def test_a_folder_of_an_earlier_version_says_how_it_opens(tmp_path: Path, base):
    base.module.save_pretrained(tmp_path / "base")
    base.tokenizer.save_pretrained(tmp_path / "base")
    Model(load(tmp_path / "base").backend).adapt(prompt=Prompt("Route.")).save(tmp_path / "a")
    assert load(tmp_path / "a").adaptation.prompt.instruction == "Route."
    path = tmp_path / "a" / "luthier.yaml"
    text = path.read_text("utf-8").replace("format: 3", "format: 1")
    fingerprint = load(tmp_path / "a").backend.fingerprint
    path.write_text(text.replace(fingerprint, "f" * 64), "utf-8")
    with pytest.raises(ModelError, match="earlier version of Luthier") as caught:
        load(tmp_path / "a")
    assert "--base" in str(caught.value)
    opened = load(tmp_path / "a", base=str(tmp_path / "base"))
    opened.save(tmp_path / "b")
    assert load(tmp_path / "b").adaptation.prompt.instruction == "Route."


def prompts():
    shown = (Demonstration("my card", "billing"),)
    labels = ("billing", "delivery")
    plain = Prompt("INSTRUCTION name it.", labels=labels, demonstrations=shown)
    chat = Prompt("INSTRUCTION name it.", labels=labels, format=PromptFormat(style="chat"))
    around = Prompt("INSTRUCTION", labels=labels, format=PromptFormat(input_place="around"))
    return {"plain": plain, "chat": chat, "around": around, "bare": Prompt("INSTRUCTION")}


@pytest.mark.parametrize("kind", prompts())
@pytest.mark.parametrize("content", [LONG, "ab" * 2000, "中文字" * 400, "🙂 " * 500, "x\n" * 900])
def test_a_long_input_loses_its_middle_and_nothing_else(base, kind, content):
    prompt = prompts()[kind]
    model = Model(base, Adaptation(prompt, decoding=Decoding(labels=("billing", "delivery"))))
    text = f"BEGIN {content} FINISH"
    (rendered,) = render_for(model, [Example("1", text, "")])
    with base.session(Adaptation()) as session:
        short = shortened(session, rendered, 300)
        assert 200 < len(session.encode(short)) <= 300
        shown = session.text(short)
    assert "INSTRUCTION" in shown
    assert "BEGIN" in shown
    assert "FINISH" in shown
    assert GAP in shown
    if prompt.labels:
        assert "billing, delivery" in shown
    if not rendered.messages:
        assert shown.endswith("Label:")


def test_a_long_passage_is_cut_before_a_short_question(base):
    model = Model(base, Adaptation(Prompt("INSTRUCTION")))
    (rendered,) = render_for(model, [Example("1", "Who was it?", "", context=LONG)])
    with base.session(Adaptation()) as session:
        shown = session.text(shortened(session, rendered, 200))
    assert "Who was it?" in shown
    assert GAP in shown


@pytest.mark.parametrize(("text", "kept", "left"), [
    ("abcdefgh", 4, "ab … gh"), ("abcdefgh", 0, " … "), ("ab … gh", 2, "a … h"),
    ("abc", 3, "ab … c"), ("a b c d", 2, "a … d"),
])  # fmt: skip
def test_a_middle_is_what_is_left_out(text, kept, left):
    assert without_middle(text, kept) == left


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_scores_and_texts_count_what_was_cut(family):
    backend = tiny.backend(family)
    model = Model(backend, Adaptation(Prompt("INSTRUCTION"), decoding=Decoding(max_new_tokens=3)))
    short, long = render_for(model, [Example("1", "my card", ""), Example("2", LONG * 4, "")])
    labels = (" billing", " delivery")
    scored = backend.score([ScoreRequest(p, labels) for p in (short, long)], Adaptation())
    written = backend.generate([GenerateRequest(p) for p in (short, long)], model.adaptation)
    assert [r.usage.truncated for r in (*scored, *written)] == [0, 1] * 2


def test_evaluate_and_ask_say_that_inputs_were_cut(base, capsys):
    from luthier.cli.commands.ask import response_json, show_notes

    rows = [(f"note {i} {LONG if i % 2 else ''} end", "ab"[i % 2]) for i in range(40)]
    task = Task.from_examples(rows, instruction="INSTRUCTION", leaks="keep")
    model = Model(base, Adaptation(task.base_prompt(), decoding=task.base_decoding()))
    found = evaluate(model, task)
    long = sum(len(e.text) > 100 for e in task.test)
    assert found.usage.truncated == long
    assert found.notes[0].startswith(f"{long} of {len(task.test)} prompts were cut")
    response = model.respond(LONG)
    assert "cut to the context" in json.dumps(response_json(response))
    show_notes(response)
    assert "cut to the context" in " ".join(capsys.readouterr().err.split())
    assert usage_notes(Usage(5, 5, 5, 1), 1) == ()


@pytest.mark.parametrize("share", [2, 3, 10])
def test_long_rows_do_not_forbid_few_shot(share):
    rows = [(f"note {i} {'word ' * (3000 if i % share == 0 else 3)}", "ab"[i % 2])
            for i in range(60)]  # fmt: skip
    task = Task.from_examples(rows, instruction="Name it.", leaks="keep")
    fitted = FewShot(shots=2, selection="random", sets=1, orders=0).fit(
        Model(FakeBackend()), task.without_test(), budget=Budget(tokens=1_000_000), seed=0
    )
    assert fitted.adaptation.prompt.demonstrations
    assert any("lose their middle" in note for note in fitted.lineage.fit.notes)


def test_the_backend_opens_with_the_fingerprint_of_tokenizer_and_weights(tmp_path, base):
    base.module.save_pretrained(tmp_path)
    base.tokenizer.save_pretrained(tmp_path)
    opened = LocalBackend.open(str(tmp_path), name="mine")
    assert opened.fingerprint == fingerprint_of(base.module, base.tokenizer)
