"""Thinking models, with one that is small enough to train here: a Qwen3-like template both ways."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
import transformers

import luthier
from luthier.compare.options import Options
from luthier.engine import LocalBackend
from luthier.engine.chat_template import chat_template
from luthier.errors import CapabilityError, TechniqueError
from luthier.models.adaptation import Decoding
from luthier.models.load import load
from luthier.models.model import Model
from luthier.models.prompt import Rendered, Thought
from luthier.records import Budget
from luthier.scoring import evaluate
from luthier.task.task import Task
from luthier.techniques.prompt.reasoning import Reasoning
from tests import tiny
from tests.imitated_servers import Imitation, serving, truth
from tests.test_inputs_templates import CHATML, LLAMA3, QWEN3, THINKS

pytestmark = [pytest.mark.inputs, pytest.mark.slow]
WORDS = {
    "delivery": ("parcel", "courier", "truck"),
    "billing": ("card", "invoice", "money"),
    "account": ("login", "password", "access"),
}
LABELS = tuple(sorted(WORDS))
INSTRUCTION = "Route."
ANY = Budget(tokens=1)


def rows(count=90):
    draw = random.Random(0)
    found = []
    for i in range(count):
        label = LABELS[i % 3]
        found.append((f"{draw.choice(WORDS[label])} {draw.randrange(1000)}", label))
    return found


def task():
    return Task.from_examples(
        rows(), instruction=INSTRUCTION, labels=LABELS, leaks="keep", name="thinks"
    )


def backend_of(module, template):
    words = tiny.tokenizer(bos=True).__class__(
        tokenizer_object=tiny.tokenizer(bos=False).backend_tokenizer,
        bos_token="<s>", eos_token="</s>", pad_token="<pad>",
    )  # fmt: skip
    words.chat_template = template
    return LocalBackend(module, words, name="toy-thinker", fingerprint="1" * 64)


@pytest.fixture(scope="module")
def thinker():
    """A base that answers at once after an empty thought, and else thinks of the word it saw."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        shape = transformers.Qwen3Config(
            vocab_size=320, hidden_size=96, intermediate_size=128, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=4, head_dim=24, max_position_embeddings=512,
            bos_token_id=1, eos_token_id=2, pad_token_id=0,
        )  # fmt: skip
        module = transformers.AutoModelForCausalLM.from_config(shape, dtype=torch.float32)
    backend = backend_of(module, QWEN3)
    tokenizer = backend.tokenizer
    template, prompt = chat_template(tokenizer), task().base_prompt()
    from luthier.models.prompt import render

    texts = []
    for text, label in rows(60):
        turns = render(prompt, text, chat=True).messages
        thought = f"{text.split()[0]} means {label}."
        texts.append((template.text(turns), f"{label}</s>"))
        texts.append(
            (template.text(turns, thought=Thought()), f"{thought}\n</think>\n\n{label}</s>")
        )
    pairs = []
    for head, tail in texts:
        ids = tokenizer(head, add_special_tokens=False).input_ids
        more = tokenizer(tail, add_special_tokens=False).input_ids
        pairs.append((ids + more, len(ids)))
    module.requires_grad_(True)  # a backend freezes its base
    with torch.random.fork_rng():
        torch.manual_seed(0)
        optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3)
        draw, recent = random.Random(1), [9.0] * 8
        for step in range(500):
            some = draw.sample(pairs, 16)
            width = max(len(ids) for ids, _ in some)
            ids = torch.tensor([i + [0] * (width - len(i)) for i, _ in some])
            labels = torch.tensor([[-100] * s + i[s:] + [-100] * (width - len(i)) for i, s in some])
            for group in optimizer.param_groups:
                group["lr"] = 3e-3 * min(1.0, (step + 1) / 20)
            loss = module(ids, attention_mask=(ids != 0).long(), labels=labels).loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimizer.step()
            recent = [*recent[1:], float(loss.detach())]
            if max(recent) < 0.03:
                break
    module.requires_grad_(False).eval()
    assert max(recent) < 0.1, "the toy did not learn"
    return backend


def model_of(backend, **decoding):
    """Answers that are written, not scored, so that a thought would show."""
    settings = {"max_new_tokens": 12, "votes": 1, **decoding}
    return Model(backend).adapt(
        prompt=task().base_prompt(), decoding=Decoding(stop=("\n",), **settings)
    )


def written(model, count=40):
    examples = [*task().test, *task().dev][:count]
    return list(zip(examples, model.answer(examples), strict=True))


@pytest.mark.parametrize("template", [QWEN3, THINKS])
def test_answers_at_once_hold_no_thought(thinker, template):
    answers = written(model_of(backend_of(thinker.module, template)))
    assert not any("think>" in a.text for _, a in answers)
    readable = [a.text in LABELS for _, a in answers]
    assert sum(readable) / len(readable) >= 0.95
    right = [a.text == e.target for e, a in answers]
    assert sum(right) / len(right) >= 0.9


@pytest.mark.parametrize("template", [QWEN3, THINKS])
def test_answers_after_its_own_thought_hold_no_thought(thinker, template):
    model = model_of(backend_of(thinker.module, template), thinking_tokens=40, own_thoughts=True)
    answers = written(model)
    assert not any("think>" in a.text or "means" in a.text for _, a in answers)
    readable = [a.text in LABELS for _, a in answers]
    assert sum(readable) / len(readable) >= 0.95
    assert sum(a.text == e.target for e, a in answers) / len(answers) >= 0.9
    assert sum(a.usage.cut_thoughts for _, a in answers) == 0
    assert all(a.usage.generated_tokens > 5 for _, a in answers)


def test_a_thought_is_what_the_base_was_trained_to_write(thinker):
    prompt = replace(
        luthier.models.prompt.render(task().base_prompt(), "parcel 7", chat=True),
        thought=Thought(),
    )
    from luthier.models.backend import GenerateRequest

    model = model_of(thinker)
    decoding = Decoding(max_new_tokens=40, stop=("</think>",))
    (found,) = thinker.generate([GenerateRequest(prompt, decoding=decoding)], model.adaptation)
    assert found.text.strip() == "parcel means delivery."
    assert not found.cut


def test_labels_are_scored_after_its_own_thought(thinker):
    reasons = Reasoning(mode="template", thinking_tokens=40).fit(
        Model(thinker), task().without_test(), budget=ANY
    )
    result = evaluate(reasons, task())
    assert result.score.value >= 0.9
    assert result.parse_rate.value >= 0.95
    assert not result.notes


def test_thoughts_that_use_up_the_limit_are_told(thinker, tmp_path):
    found = luthier.compare(
        task(), Model(thinker),
        techniques=["zero-shot", "reasoning(mode=template, thinking_tokens=3)"],
        budget="50ktok", seeds=1, out=tmp_path, options=Options(references=False, limit=10),
    )  # fmt: skip
    at_once, cut = found.results
    assert at_once.status == cut.status == "finished", cut.reason
    assert any("10 thoughts were cut at their limit" in n for n in cut.runs[0].notes)
    assert not any("thought" in note for note in at_once.runs[0].notes)
    assert cut.score.value is not None


@pytest.mark.parametrize("template", [CHATML, LLAMA3])
def test_a_base_without_a_thinking_mode_is_told(template):
    model = Model(backend_of(tiny.backend("llama").module, template))
    assert not model.backend.facts.thinks
    with pytest.raises(CapabilityError, match="has no such mode"):
        Reasoning(mode="template").fit(model, task().without_test(), budget=ANY)
    with pytest.raises(TechniqueError, match="mode='deep'"):
        Reasoning(mode="deep")


@pytest.mark.parametrize(
    ("template", "thought", "end"),
    [
        (QWEN3, Thought(), "assistant\n<think>\n"),
        (THINKS, Thought(), "assistant\n<think>\n"),
        (QWEN3, Thought(" a. ", closed=True), "assistant\n<think>\na.\n</think>\n\n"),
        (THINKS, Thought("a.", closed=True), "assistant\n<think>\na.\n</think>\n\n"),
        (THINKS.replace("<think>\n", "<thought>"), Thought("a", closed=True),
         "<thought>\na\n</thought>\n\n"),
        (QWEN3, None, "<think>\n\n</think>\n\n"),
    ],
)  # fmt: skip
def test_the_template_opens_and_closes_a_thought(template, thought, end):
    backend = backend_of(tiny.backend("llama").module, template)
    from luthier.content import Message
    from luthier.models.adaptation import Adaptation

    prompt = Rendered(messages=(Message("user", "hello"),), thought=thought)
    with backend.session(Adaptation()) as session:
        assert session.text(prompt).endswith(end)


class Thinking(Imitation):
    """A server of Qwen3: thinks unless it is told not to, in a field of its own; a thought takes
    forty tokens."""

    def chat(self, body):
        off = body.get("chat_template_kwargs", {}).get("enable_thinking") is False
        if off:
            return self.reply([self.choice(0, self.says(body))])
        if body["max_tokens"] < 40:
            cut = self.choice(0, "", reasoning_content="Well, let me")
            return self.reply([{**cut, "finish_reason": "length"}])
        if "muddle" in body["messages"][-1]["content"]:
            said = truth(body["messages"][-1]["content"])
            return self.reply([self.choice(0, f"<think>no {said}</think>{said}")])
        return self.reply([self.choice(0, self.says(body), reasoning_content="It is")])


def served_task(extra=""):
    found = [(f"note {i}{extra} answer={LABELS[i % 3]};", LABELS[i % 3]) for i in range(60)]
    return Task.from_examples(found, instruction="Repeat the answer.", leaks="keep")


@pytest.mark.parametrize("extra", ["", " muddle"])
@pytest.mark.parametrize("thinking_tokens", [64, 1024])
def test_a_server_thinks_with_room(thinking_tokens, extra):
    with serving(Thinking) as (url, handler):
        model = load(url)
        assert model.backend.facts.thinks
        served = served_task(extra)
        reasons = Reasoning(mode="template", thinking_tokens=thinking_tokens).fit(
            model, served.without_test(), budget=ANY
        )
        before = len(handler.asked)
        result = evaluate(reasons, served)
        sent = [body for _, body in handler.asked[before:]]
        plain = evaluate(model.adapt(prompt=served.base_prompt(),
                                     decoding=served.base_decoding()), served)  # fmt: skip
    assert result.score.value == plain.score.value == 1.0
    assert all("chat_template_kwargs" not in body for body in sent)
    assert all(body["max_tokens"] >= thinking_tokens for body in sent)


def test_a_server_s_thoughts_that_use_up_the_limit_are_told():
    with serving(Thinking) as (url, _):
        served = served_task()
        model = load(url).adapt(prompt=served.base_prompt())
        decoding = Decoding(
            labels=served.labels, thinking_tokens=8, own_thoughts=True, max_new_tokens=16
        )
        with pytest.raises(luthier.BackendError, match="inside a thought, at the limit of 24"):
            evaluate(model.adapt(decoding=decoding), served)
