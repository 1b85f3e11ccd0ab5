"""Reasoning: a thought, then the answer, within a budget of tokens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from luthier.errors import TechniqueError
from luthier.models.adaptation import Decoding
from luthier.models.fake import FakeBackend
from luthier.models.load import load
from luthier.models.model import Model
from luthier.models.prompt import PromptFormat, Rendered
from luthier.models.thinking import answer_prompt, thought_prompt
from luthier.records import Budget, Capability
from luthier.techniques.prompt.reasoning import Reasoning
from luthier.techniques.spelling import parse_technique
from tests import tiny
from tests.compare_stubs import toy_task

NOTHING = Budget(tokens=1)
FORM = PromptFormat()


def thinks(prompt: str) -> str:
    """Names the queue in a thought; without one before the answer it knows nothing."""
    last = prompt.rsplit("Input: ", 1)[-1].rsplit("message: ", 1)[-1]
    if "step by step" in last and last.rstrip().endswith("step by step."):
        queues = {"parcel": "delivery", "courier": "delivery", "card": "billing"}
        found = next((q for word, q in queues.items() if word in last), "account")
        return f"this is about {found}"
    for queue in ("delivery", "billing", "account"):
        if f"this is about {queue}" in last:
            return queue
    return "no idea"


def fitted(technique: Reasoning, **backend: object) -> Model:
    text_only = frozenset({Capability.TEXT})
    model = Model(FakeBackend(thinks, capabilities=text_only))
    return technique.fit(model, toy_task().without_test(), budget=NOTHING)


def test_the_thought_stands_before_the_answer() -> None:
    model = fitted(Reasoning(thinking_tokens=8))
    response = model.respond("hello number 5 about parcel and courier")
    assert response.parsed == "delivery"
    assert response.text == "this is about delivery\ndelivery"
    assert model.ask("hello number 5 about parcel and courier") == "delivery"
    plain = model.adapt(decoding=replace(model.adaptation.decoding, thinking_tokens=0))
    assert plain.respond("hello number 5 about parcel and courier").parsed is None
    assert response.usage.prompt_tokens > plain.respond("hello").usage.prompt_tokens


def test_a_thought_is_cut_at_its_budget() -> None:
    model = fitted(Reasoning(thinking_tokens=3))
    response = model.respond("hello number 5 about parcel and courier")
    assert response.text.startswith("this is about\n")
    assert response.parsed is None


def test_several_thoughts_vote() -> None:
    model = fitted(Reasoning(thinking_tokens=8, votes=3))
    decoding = model.adaptation.decoding
    assert (decoding.votes, decoding.temperature, decoding.thinking_tokens) == (3, 0.7, 8)
    one = fitted(Reasoning(thinking_tokens=8)).respond("about parcel")
    three = model.respond("about parcel")
    assert three.parsed == one.parsed == "delivery"
    assert three.usage.prompt_tokens > one.usage.prompt_tokens


def test_labels_are_scored_after_the_thought() -> None:
    task = toy_task()
    model = Reasoning(thinking_tokens=8).fit(
        tiny.model("llama"), task.without_test(), budget=NOTHING
    )
    (response,) = model.answer(task.test[:1])
    assert response.label_logprobs is not None
    assert set(response.label_logprobs) == set(task.labels)
    assert response.usage.generated_tokens <= 8
    assert model.answer(task.test[:1]) == [response]
    assert "".join(model.stream(task.test[0].text)) == response.text


def test_prompts_in_both_forms() -> None:
    from luthier.content import Message

    plain = Rendered(text="Route it.\n\nInput: pay\nLabel:", answer_prefix=" ")
    thought = thought_prompt(plain, FORM).text
    assert thought == "Route it.\n\nInput: pay\nReasoning: Let's think step by step."
    after = answer_prompt(plain, " It is money. ", FORM)
    assert after.text == f"{thought} It is money.\nLabel:"
    assert after.answer_prefix == " "
    chat = Rendered(messages=(Message("system", "Route it."), Message("user", "pay")))
    turns = answer_prompt(chat, "It is money.", FORM).messages
    assert [m.role for m in turns] == ["system", "user", "assistant", "user"]
    assert turns[1].text.startswith("pay\n\nFirst think")


def test_it_is_saved_and_follows_other_prompts(tmp_path: Path) -> None:
    task = toy_task().without_test()
    recipe = parse_technique("few-shot(shots=2, selection=random) -> reasoning(thinking_tokens=5)")
    model = recipe.fit(load("fake"), task, budget=Budget(tokens=60_000))
    assert len(model.adaptation.prompt.demonstrations) == 2
    model.save(tmp_path / "m")
    again = load(tmp_path / "m")
    assert again.adaptation.decoding.thinking_tokens == 5
    assert again.ask("about parcel") == model.ask("about parcel")


def test_settings_out_of_range() -> None:
    with pytest.raises(TechniqueError, match="thinking_tokens=0"):
        Reasoning(thinking_tokens=0)
    with pytest.raises(TechniqueError, match="temperature=0"):
        Reasoning(temperature=0)
    with pytest.raises(TechniqueError, match="guidance_scale is 2"):
        Decoding(thinking_tokens=8, guidance_scale=2.0)
