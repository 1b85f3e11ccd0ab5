"""Labels of servers that generate: held to the list where a server can, told how likely they are
where it tells, and believed by its answers."""

from __future__ import annotations

import json
import math

import pytest

from luthier.models import endpoint_calls
from luthier.models.adaptation import Decoding
from luthier.models.endpoint_labels import held_answer
from luthier.models.endpoint_replies import first_tokens
from luthier.models.label_likelihood import label_likelihood
from luthier.models.load import load
from luthier.scoring import evaluate
from luthier.task.task import Task
from tests.imitated_servers import KINDS, Imitation, OldVLLM, OpenAI, serving

pytest.importorskip("openai", reason="needs luthier[endpoint]")
pytestmark = pytest.mark.inputs
LABELS = ("billing", "delivery", "returns")
HOLDING = {
    "openai": "response_format", "vllm": "structured_outputs", "old-vllm": "guided_choice",
    "sglang": "response_format", "ollama": "response_format", "llama.cpp": "response_format",
    "lm-studio": "response_format", "tgi": "", "azure": "response_format",
    "mistral": "response_format",
}  # fmt: skip


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(endpoint_calls, "FIRST_WAIT", 0.01)
    monkeypatch.delenv("LUTHIER_RESPONSE_CACHE", raising=False)


def toy(labels=LABELS):
    rows = [(f"note {i} answer={labels[i % len(labels)]};", labels[i % len(labels)])
            for i in range(60)]  # fmt: skip
    return Task.from_examples(rows, instruction="Repeat the answer.", leaks="keep")


def generating(url, task, **decoding):
    """Votes of one are generated also where labels could be scored."""
    model = load(url).adapt(prompt=task.base_prompt())
    if not model.backend.found.echoes:
        return model.adapt(decoding=Decoding(labels=task.labels, **decoding))
    more = {"votes": 2, "temperature": 0.5, **decoding}
    return model.adapt(decoding=Decoding(labels=task.labels, **more))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_holds_answers_as_it_can(kind):
    with serving(KINDS[kind], free=lambda self, said: f"I would rather say {said.upper()}x") as (
        url,
        handler,
    ):
        model = generating(url, toy())
        before = len(handler.asked)
        result = evaluate(model, toy(), limit=6) if HOLDING[kind] else None
        found = model.backend._label_means()
        sent = [body for path, body in handler.asked[before:] if path == "/chat/completions"]
    assert found.holding == HOLDING[kind]
    if result is not None:
        assert (result.score.value, result.parse_rate.value) == (1.0, 1.0)
        assert any("held answers to the labels" in note for note in result.notes)
        assert all(HOLDING[kind] in body for body in sent[-6:])
    assert found.alternatives == {
        "vllm": 20, "old-vllm": 20, "tgi": 5}.get(kind, 0)  # fmt: skip


@pytest.mark.parametrize(
    "labels",
    [
        ("C", "C++", "C#"),
        ("refund", "refund refused"),
        ("😀", "😡", "😐"),
        ("退款", "退货", "配送"),
        ('say "yes"', "a\\b", "{no}"),
    ],
)
@pytest.mark.parametrize("kind", ["openai", "old-vllm", "ollama"])
def test_labels_of_any_kind_are_held(kind, labels):
    with serving(KINDS[kind]) as (url, _):
        result = evaluate(generating(url, toy(labels)), toy(labels))
    assert (result.score.value, result.parse_rate.value) == (1.0, 1.0)


def test_a_server_that_passes_over_all_of_it_is_found_out():
    class Deaf(Imitation):
        def reply(self, choices, **more):
            for choice in choices:
                choice["logprobs"] = {"content": None}
            super().reply(choices, **more)

    with serving(Deaf) as (url, _):
        model = generating(url, toy())
        result = evaluate(model, toy())
        found = model.backend._label_means()
    assert (found.holding, found.alternatives) == ("", 0)
    assert result.score.value == 1.0
    assert not any("held" in note for note in result.notes)


def test_a_server_whose_grammar_fails_in_the_middle_still_answers():
    class Tired(OpenAI):
        def chat(self, body):
            if "response_format" in body and len(self.asked) > 12:
                return self.refuse(
                    400, "Invalid schema for response_format 'answer'", param="response_format"
                )
            return super().chat(body)

    with serving(Tired) as (url, _):
        result = evaluate(generating(url, toy()), toy())
    assert result.score.value == 1.0
    assert any("does not take response_format" in note for note in result.notes)


def test_thoughts_and_free_texts_are_not_held():
    with serving(OpenAI) as (url, handler):
        model = load(url).adapt(decoding=Decoding(max_new_tokens=16))
        before = len(handler.asked)
        model.answer(toy().test[:2])
        thinking = Decoding(labels=LABELS, thinking_tokens=8, own_thoughts=True)
        model.adapt(decoding=thinking).answer(toy().test[:2])
        sent = [body for _, body in handler.asked[before:]]
    assert len(sent) >= 4
    assert not any("response_format" in body or "logprobs" in body for body in sent)


def test_first_tokens_tell_how_likely_labels_are():
    with serving(OldVLLM) as (url, _):
        responses = generating(url, toy()).answer(toy().test[:6])
    for response, example in zip(responses, toy().test[:6], strict=True):
        likely = response.label_logprobs
        assert max(likely, key=likely.get) == example.target == response.parsed
        assert likely[example.target] == pytest.approx(-0.2)


def test_a_bias_moves_what_first_tokens_say():
    bias = tuple((label, 30.0 if label == "billing" else 0.0) for label in LABELS)
    with serving(OldVLLM) as (url, _):
        responses = generating(url, toy(), label_bias=bias).answer(toy().test)
    assert "billing" not in {r.parsed for r in responses}


@pytest.mark.parametrize(
    ("first", "labels", "best"),
    [
        ([("del", -0.1), ("bill", -3.0)], LABELS, "delivery"),
        ([(" Del", -0.1), (" bill", -3.0)], LABELS, "billing"),
        ([("delivery note", -0.1)], LABELS, "delivery"),
        ([("C", -0.1)], ("C", "C++"), None),
        ([("re", -0.1)], ("refund", "return"), None),
        ([("I", -0.1), ("Well", -2.0)], LABELS, None),
        ([(" ", -0.1), ("", -0.1), ("ret", -1.0)], LABELS, "returns"),
        ([("退款", -0.3), ("退货", -1.5)], ("退款", "退货"), "退款"),
        ([("😀", -0.3)], ("😀", "😡"), "😀"),
        ([], LABELS, None),
    ],
)
def test_the_likelihood_of_labels(first, labels, best):
    found = label_likelihood(first, {label: label for label in labels})
    if best is None:
        assert found is None
    else:
        assert max(found, key=found.get) == best
        assert all(math.isfinite(value) for value in found.values())


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ('{"answer": "billing"}', "billing"),
        (' {"answer":"C++"}\n', "C++"),
        ('{"answer": 3}', '{"answer": 3}'),
        ('{"other": "billing"}', '{"other": "billing"}'),
        ('{"answer": "bil', '{"answer": "bil'),
        ("{no}", "{no}"),
        ("billing", "billing"),
    ],
)
def test_the_answer_in_json(text, answer):
    assert held_answer(text) == answer


@pytest.mark.parametrize(
    "told",
    [
        None, {}, {"content": None}, {"content": []}, {"content": [None]},
        {"content": [{"token": "a", "logprob": -1.0}]},
        {"content": [{"token": "a", "top_logprobs": [{"token": "a", "logprob": 3.0}]}]},
        {"content": [{"token": "a", "top_logprobs": [{"token": "a", "logprob": float("nan")}]}]},
        {"content": [{"top_logprobs": [{"token": "a", "logprob": 0.0},
                                       {"token": "b", "logprob": 0.0}]}]},
        {"tokens": ["a"], "token_logprobs": [-1.0]},
    ],
)  # fmt: skip
def test_log_probabilities_that_are_none_are_not_believed(told):
    assert first_tokens({"logprobs": told}) == []
    json.dumps(first_tokens({"logprobs": told}))
