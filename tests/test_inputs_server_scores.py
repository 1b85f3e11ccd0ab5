"""Label scores from servers: the tokens of a label are found by themselves, not by offsets, under
the server's chat template; a server that scores nothing is not believed."""

from __future__ import annotations

import pytest

from luthier.errors import BackendError
from luthier.models import endpoint_calls
from luthier.models.adaptation import Adaptation, Decoding
from luthier.models.backend import ScoreRequest
from luthier.models.endpoint_calls import BadReplyError
from luthier.models.endpoint_scoring import echoed
from luthier.models.load import load
from luthier.models.prompt import Prompt, Rendered
from luthier.records import Capability, Example
from tests.imitated_servers import UNLIKELY, VLLM, Echoing, Imitation, SGLang, serving

pytest.importorskip("openai", reason="needs luthier[endpoint]")
pytestmark = pytest.mark.inputs
LISTS = {
    "words": ("billing", "delivery", "returns"),
    "emoji": ("👍", "👎", "🤷‍♀️"),
    "CJK": ("账单", "交付", "退货退款"),
    "signs": ("+", "-", "="),
    "accents": ("réclamation", "livraison à domicile", "été"),
    "Hindi": ("शिकायत", "वितरण", "वापसी"),
    "mixed": ("C++ 💻", "日本 go", "plain"),
}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(endpoint_calls, "FIRST_WAIT", 0.01)


@pytest.mark.parametrize("kind", [VLLM, SGLang, Echoing])
@pytest.mark.parametrize("labels", LISTS.values(), ids=list(LISTS))
def test_the_right_label_is_the_likeliest(kind, labels):
    with serving(kind) as (url, _):
        model = load(url).adapt(prompt=Prompt(instruction="Repeat."),
                                decoding=Decoding(labels=labels))  # fmt: skip
        examples = [Example(str(i), f"a 🙂 note 中 answer={y};", "") for i, y in enumerate(labels)]
        answers = model.answer(examples)
    assert [a.parsed for a in answers] == list(labels)


@pytest.mark.parametrize("kind", [VLLM, SGLang, Echoing])
@pytest.mark.parametrize(
    ("label", "tokens"),
    [(" billing", 1), (" 👍", 5), (" 账单", 7), (" +", 2), (" two words", 2), (" é", 3)],
)
def test_only_the_tokens_of_the_label_are_summed(kind, label, tokens):
    with serving(kind) as (url, _):
        backend = load(url).backend
        request = ScoreRequest(Rendered(text="🙂 中 answer=zzz; Label:"), (label,))
        (found,) = backend.score([request], Adaptation())
    assert found.tokens == (tokens,)
    assert found.logprobs == (pytest.approx(UNLIKELY * tokens),)


def test_a_chat_is_scored_under_the_template_of_the_server():
    with serving(VLLM) as (url, handler):
        model = load(url).adapt(prompt=Prompt(instruction="Repeat."),
                                decoding=Decoding(labels=LISTS["words"]))  # fmt: skip
        before = len(handler.asked)
        assert model.respond("answer=delivery;").parsed == "delivery"
        sent = handler.asked[before:]
    assert [path for path, _ in sent] == ["/chat/completions"] * 4
    head, *rows = [body for _, body in sent]
    assert head["add_generation_prompt"] is True
    assert [row["messages"][-1] for row in rows] == [
        {"role": "assistant", "content": label} for label in LISTS["words"]
    ]
    assert all(row["continue_final_message"] and not row["add_generation_prompt"] for row in rows)


def choice(text, tokens, logprobs, **more):
    found = {"tokens": tokens, "token_logprobs": logprobs, "text_offset": [0] * len(tokens),
             "top_logprobs": None}  # fmt: skip
    return {"choices": [{"text": text, "logprobs": found, **more}]}


@pytest.mark.parametrize(
    "reply",
    [
        choice(" x", [" x"], [-1.5]),
        choice(" x y z", [" x", " y", " z"], [-1.5, -1.0, -2.0]),
        choice("one two three x", [" x"], [-1.5]),
        choice("one two three x", ["one", " two", " three", " x"], [None, 0.0, 0.0, -1.0]),
        choice("one two three x", ["one", " two", " three", " x"], [None, None, None, -1.0]),
        choice("one two three x", ["one", " two", " three", " x"], [None, 3.0, -1.0, -1.0]),
        {"choices": [{"text": "one two three x", "logprobs": None}]},
        {"choices": [{"text": "one two three x", "logprobs": {"content": []}}]},
        {"choices": []},
    ],
)
def test_what_is_no_echo_is_found_out(reply):
    with pytest.raises(BadReplyError):
        echoed(reply, "one two three")

    class Pretender(Imitation):
        def completion(self, body):
            self.send(200, reply)

    with serving(Pretender) as (url, _):
        model = load(url)
        assert Capability.LOGPROBS not in model.capabilities
        model = model.adapt(decoding=Decoding(labels=LISTS["words"]))
        assert model.respond("answer=returns;").parsed == "returns"


@pytest.mark.parametrize("usage", [None, {"prompt_tokens": 3}, {"completion_tokens": 1},
                                   {"prompt_tokens": 3, "completion_tokens": None}])  # fmt: skip
def test_the_generated_token_is_left_out(usage):
    reply = choice("one two three x", ["one", " two", " three", " x"], [None, -1.0, -2.0, -3.0])
    assert echoed({**reply, "usage": usage}, "one two three")["logprobs"] == [None, -1.0, -2.0]


def test_a_server_that_stops_echoing_is_told():
    class Fickle(Echoing):
        def completion(self, body):
            super().completion({**body, "echo": body["echo"] and self.count < 4})

    with serving(Fickle) as (url, _), pytest.raises(BackendError, match=r"not every token|echoed"):
        load(url).backend.score(
            [ScoreRequest(Rendered(text="a b"), (" c", " d", " e"))] * 3, Adaptation()
        )


def test_a_base_without_a_chat_template_answers_plain_text():
    class Base(VLLM):
        def chat(self, body):
            self.refuse(400, "As of transformers v4.44, default chat template is no longer allowed")

    with serving(Base) as (url, _):
        model = load(url)
        assert not model.backend.facts.has_chat_template
        assert model.adapt(decoding=Decoding(stop=())).respond("one two").text.endswith("x")
        labels = model.adapt(decoding=Decoding(labels=LISTS["words"]))
        assert labels.respond("answer=returns;").parsed == "returns"
