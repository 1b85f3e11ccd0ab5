"""Soft prompts and prefixes begin as demonstrations under chat templates that put something before
the first turn (Llama 3, SmolLM2), and then answer as few-shot prompting does."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

import luthier
from luthier.engine import LocalBackend
from luthier.models.adaptation import Adapter, VirtualTokens
from luthier.models.model import Model
from luthier.models.prompt import Demonstration
from luthier.records import Budget
from luthier.techniques.soft.prefix_tuning import PrefixTuning
from luthier.techniques.soft.soft_prompt import SoftPrompt
from luthier.training.adapter_fit import adapter_config
from luthier.training.prompt_tuning.initialization import from_demonstrations
from luthier.training.prompt_tuning.prefixes import keys_and_values
from luthier.training.starting_prompt import starting_model
from tests.test_training import make_task

pytestmark = [pytest.mark.inputs, pytest.mark.slow]
LLAMA3 = (
    "{{ bos_token }}[system]\n\nCutting Knowledge Date: December 2023\nToday Date: "
    "{{ strftime_now('%d %b %Y') }}\n\n{% if messages[0].role == 'system' %}"
    "{{ messages[0].content | trim }}{% set messages = messages[1:] %}{% endif %}[eot]"
    "{% for m in messages %}[{{ m.role }}]\n\n{{ m.content | trim }}[eot]{% endfor %}"
    "{% if add_generation_prompt %}[assistant]\n\n{% endif %}"
)
SMOLLM2 = (
    "{% for m in messages %}{% if loop.first and messages[0].role != 'system' %}"
    "{{ bos_token }}system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face\n"
    "{% endif %}{{ bos_token }}{{ m.role }}\n{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}{{ bos_token }}assistant\n{% endif %}"
)
PLAIN_TURNS = (
    "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)
TEMPLATES = {"llama-3": LLAMA3, "smollm2": SMOLLM2, "no head": PLAIN_TURNS}


@pytest.fixture(scope="module")
def task():
    return make_task()


@pytest.fixture(scope="module", params=TEMPLATES)
def model(request):
    base = luthier.load("nano").backend
    words = copy.deepcopy(base.tokenizer)
    words.chat_template = TEMPLATES[request.param]
    backend = LocalBackend(base.module, words, name="chatty", fingerprint="2" * 64)
    backend.facts = replace(backend.facts, prefers_chat=True, has_chat_template=True)
    return Model(backend)


def begun(model, task):
    bare = starting_model(model, task, style="bare")
    with model.backend.session(bare.adaptation) as session:
        found = from_demonstrations(session, bare, task, 700, 0)
        assert found is not None
        pairs = keys_and_values(session, found.ids)
    return bare, found, pairs


def logprobs(model, examples):
    return torch.tensor([list(a.label_logprobs.values()) for a in model.answer(examples)])


def few_shot(bare, found, examples):
    shown = tuple(Demonstration(e.input, e.target, e.context) for e in found.examples)
    return logprobs(
        bare.adapt(prompt=replace(bare.adaptation.prompt, demonstrations=shown)), examples
    )


def test_a_soft_prompt_begins_at_what_few_shot_answers(model, task):
    bare, found, _ = begun(model, task)
    soft = VirtualTokens(found.start.unsqueeze(0), "before", found.head)
    got = logprobs(bare.adapt(soft_prompt=soft), task.dev[:4])
    torch.testing.assert_close(got, few_shot(bare, found, task.dev[:4]), atol=2e-3, rtol=1e-3)


def test_a_prefix_begins_at_what_few_shot_answers(model, task):
    import peft

    bare, found, pairs = begun(model, task)
    config = adapter_config(
        peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=len(found.ids))
    )
    opens = found.ids[0] == model.backend.tokenizer.bos_token_id
    tensors = {"prompt_embeddings": pairs.flatten(1)}
    adapter = Adapter(config, tensors, opens, found.head)
    got = logprobs(bare.adapt(adapter=adapter), task.dev[:4])
    torch.testing.assert_close(got, few_shot(bare, found, task.dev[:4]), atol=2e-3, rtol=1e-3)


def test_a_fit_begins_as_demonstrations_and_is_saved_whole(model, task, tmp_path):
    technique = PrefixTuning() if model.backend.tokenizer.chat_template == SMOLLM2 else SoftPrompt()
    fitted = technique.fit(model, task, budget=Budget(tokens=4_000), seed=0)
    assert fitted.lineage.fit.settled["init"] == "demonstrations"
    slot = fitted.adaptation.soft_prompt or fitted.adaptation.adapter
    assert len(slot.head) > (1 if model.backend.tokenizer.chat_template == PLAIN_TURNS else 8)
    before = logprobs(fitted, task.dev[:3])
    fitted.save(tmp_path / "m")
    opened = luthier.models.storage.open_adaptation(tmp_path / "m")[0]
    again = Model(model.backend, opened)
    torch.testing.assert_close(logprobs(again, task.dev[:3]), before)


def test_soft_prompts_with_heads_share_a_batch_with_the_bare_base(model, task):
    from luthier.models.answering import label_requests, render_for

    bare, found, _ = begun(model, task)
    soft = VirtualTokens(found.start.unsqueeze(0), "before", found.head)
    moved = bare.adapt(soft_prompt=soft)
    asked = label_requests(bare, render_for(bare, task.dev[:3]))
    alone = [m.backend.score(asked, m.adaptation) for m in (bare, moved)]
    both = [(r, m.adaptation) for m in (bare, moved) for r in asked]
    mixed = model.backend.score_mixed(both)
    for got, wanted in zip(mixed, [*alone[0], *alone[1]], strict=True):
        assert got.logprobs == pytest.approx(wanted.logprobs, abs=2e-3)


def test_a_head_that_a_text_does_not_begin_with_stays(model, task):
    bare, found, _ = begun(model, task)
    from luthier.content import Message
    from luthier.models.prompt import Rendered

    soft = VirtualTokens(found.start.unsqueeze(0), "before", found.head)
    other = Rendered(messages=(Message("system", "Say less."), Message("user", "hello")))
    with model.backend.session(bare.adaptation) as session:
        whole = session.encode(other)
    with model.backend.session(bare.adapt(soft_prompt=soft).adaptation) as session:
        kept = session.encode(other)
    at = len(found.head)
    assert kept == whole or (at and whole[: at + 1][-at:] == list(found.head))
