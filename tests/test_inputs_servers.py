"""Servers as they are: every imitated kind finishes a comparison; what fails is asked again, told
in the server's own words, or ends the technique early."""

from __future__ import annotations

import json
import time

import pytest

from luthier.compare import compare
from luthier.errors import BackendError
from luthier.models import endpoint_calls
from luthier.models.adaptation import Decoding
from luthier.models.answer_watch import PATIENCE
from luthier.models.endpoint_labels import WAYS
from luthier.models.load import load
from luthier.records import Budget, Capability
from luthier.scoring import evaluate
from luthier.task.task import Task
from tests.imitated_servers import KINDS, Imitation, serving

pytest.importorskip("openai", reason="needs luthier[endpoint]")
pytestmark = pytest.mark.inputs
LABELS = ("billing", "delivery", "returns")


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setattr(endpoint_calls, "FIRST_WAIT", 0.01)
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LUTHIER_RESPONSE_CACHE", raising=False)


def toy(labels=LABELS, count=60, extra=""):
    rows = [
        (f"note {i} of the {i % 7}th day{extra} answer={labels[i % len(labels)]};",
         labels[i % len(labels)])
        for i in range(count)
    ]  # fmt: skip
    return Task.from_examples(rows, instruction="Repeat the answer.", leaks="keep")


def asked(url, task, limit=None, **decoding):
    model = load(url).adapt(prompt=task.base_prompt(), decoding=task.base_decoding())
    if decoding:
        model = model.adapt(decoding=Decoding(labels=task.labels, **decoding))
    return evaluate(model, task, limit=limit)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_server_finishes_a_comparison(kind, tmp_path):
    with serving(KINDS[kind]) as (url, _):
        found = compare(
            toy(), url, techniques=["zero-shot"], budget=Budget(tokens=10_000_000),
            out=tmp_path / "out",
        )  # fmt: skip
    (row,) = found.results
    assert (row.status, row.score.value, row.parse_rate.value) == ("finished", 1.0, 1.0), row.reason
    notes = " ".join(row.runs[0].notes)
    refused = {"openai": "does not take temperature", "mistral": "does not take seed",
               "tgi": "does not take temperature", "lm-studio": "did not count",
               "sglang": "in plain text"}  # fmt: skip
    assert refused.get(kind, "") in notes
    if kind == "lm-studio":
        assert row.cost.prompt_tokens is None


@pytest.mark.parametrize("kind", KINDS)
def test_only_servers_that_score_a_prompt_are_believed_to(kind):
    with serving(KINDS[kind]) as (url, _):
        backend = load(url).backend
    assert (Capability.LOGPROBS in backend.capabilities) == (kind in ("vllm", "sglang"))
    assert backend.found.scores_chats == (kind == "vllm")


@pytest.mark.parametrize("kind", KINDS)
def test_five_votes_are_five_answers(kind):
    with serving(KINDS[kind]) as (url, handler):
        task = toy()
        model = load(url).adapt(decoding=Decoding(labels=task.labels, votes=5, temperature=0.7))
        before = len(handler.asked)
        answers = model.answer(task.test[:3])
        sent = [body for path, body in handler.asked[before:] if path == "/chat/completions"]
    sent = [body for body in sent if body["messages"][-1]["content"] != "Hello"]
    assert [a.parsed for a in answers] == [e.target for e in task.test[:3]]
    single = [body for body in sent if body.get("n", 1) == 1]
    if kind in ("ollama", "llama.cpp", "lm-studio", "tgi", "mistral"):
        assert len(single) >= 12
        if kind != "mistral":
            assert len({body["seed"] for body in single}) >= 4


def faulty(answer):
    """A server of which the 20th reply is another one."""

    class Faulty(Imitation):
        def chat(self, body):
            if self.count == 20:
                answer(self, body)
            else:
                super().chat(body)

    return Faulty


FAULTS = {
    "no choices": lambda s, b: s.reply([]),
    "no message": lambda s, b: s.reply([{"index": 0, "finish_reason": "stop"}]),
    "error with 200": lambda s, b: s.send(
        200, {"error": {"message": "upstream overloaded", "code": 502}}
    ),
    "error and null choices": lambda s, b: s.send(
        200, {"choices": None, "error": "upstream overloaded"}
    ),
    "bad json": lambda s, b: s.send(200, b'{"id": "1", "choices": [{"index": 0, "mess'),
    "html": lambda s, b: s.send(502, b"<html><h1>502 Bad Gateway</h1></html>"),
    "html with 200": lambda s, b: s.send(200, b"<!doctype html><p>upstream overloaded</p>"),
    "cut transfer": lambda s, b: s.send(200, {"choices": [s.choice(0, s.says(b))]}, cut=30),
    "slow down": lambda s, b: s.send(
        429, {"error": {"message": "slow down"}}, [("Retry-After", "0.05")]
    ),
    "nothing": lambda s, b: s.send(200, b""),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_one_bad_reply_is_asked_again(fault):
    with serving(faulty(FAULTS[fault])) as (url, _):
        assert asked(url, toy(count=120)).score.value == 1.0


def broken(answer):
    class Broken(Imitation):
        def chat(self, body):
            if body["messages"][-1]["content"] == "Hello":
                super().chat(body)
            else:
                answer(self, body)

    return Broken


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("no choices", "without choices"),
        ("error with 200", "upstream overloaded"),
        ("error and null choices", "upstream overloaded"),
        ("bad json", "mess"),
        ("html", "502 Bad Gateway"),
        ("html with 200", "upstream overloaded"),
        ("cut transfer", "Connection"),
    ],
)
def test_what_stays_bad_is_told_in_the_server_s_own_words(fault, said):
    with (
        serving(broken(FAULTS[fault])) as (url, handler),
        pytest.raises(BackendError, match=said) as caught,
    ):
        asked(url, toy(), limit=1)
    assert "should not" not in str(caught.value)
    assert len(handler.asked) < 10


@pytest.mark.parametrize(
    ("code", "body", "said"),
    [
        (400, {"error": {"message": "This model's maximum context length is 4096 tokens, however "
                         "you requested 5000 (max_tokens 64)."}}, "maximum context length"),
        (422, {"detail": [{"loc": ["body", "messages"], "msg": "too many"}]}, "too many"),
        (400, {"message": "no such model: m"}, "no such model"),
        (403, {"error": "your plan ends here"}, "your plan"),
        (413, {"error": {"message": "request too large"}}, "too large"),
    ],
)  # fmt: skip
def test_a_refusal_is_told_and_not_repeated(code, body, said):
    with (
        serving(broken(lambda s, b: s.send(code, body))) as (url, handler),
        pytest.raises(BackendError, match=said) as caught,
    ):
        asked(url, toy(), limit=1)
    assert "Is the server up" not in str(caught.value)
    # Four greetings find out what the server can, three of them what it does for labels.
    assert len([1 for path, _ in handler.asked if path == "/chat/completions"]) == 4 + 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("temperature", "Unsupported value: 'temperature' does not support 0"),
        ("seed", "property 'seed' is unsupported"),
        ("stop", "Stop sequences are not supported"),
        ("max_tokens", "max_tokens is not a known field; use max_completion_tokens"),
        ("response_format", "response_format.json_schema: Extra inputs are not permitted"),
        ("temperature", "`temperature` must be strictly positive"),
    ],
)
def test_a_refused_parameter_is_left_out_from_then_on(name, words):
    class Refusing(Imitation):
        def chat(self, body):
            if name in body:
                self.refuse(400, words)
            else:
                super().chat(body)

    task = toy()
    schema = '{"type": "string"}' if name == "response_format" else None
    with serving(Refusing) as (url, handler):
        model = load(url).adapt(
            decoding=Decoding(json_schema=schema, stop=("###",), max_new_tokens=9)
        )
        answers = model.answer(task.test[:8])
        assert [a.text for a in answers] == [e.target for e in task.test[:8]]
        with_it = [body for path, body in handler.asked if name in body and "messages" in body]
        assert 1 <= len(with_it) <= 1 + endpoint_calls.CONCURRENT_CALLS
        if name == "max_tokens":
            assert handler.asked[-1][1]["max_completion_tokens"] == 9
        else:
            assert any(name in note for note in model.backend.notes)


def test_calls_that_come_too_soon_wait_together():
    class Limited(Imitation):
        """Six calls in a quarter of a second."""

        times: list = []  # noqa: RUF012

        def chat(self, body):
            with self.server.lock:
                now = time.monotonic()
                self.times[:] = [t for t in self.times if now - t < 0.25]
                over = len(self.times) >= 6
                if not over:
                    self.times.append(now)
            if over:
                self.send(429, {"error": {"message": "slow"}}, [("Retry-After", "0.1")])
            else:
                super().chat(body)

    with serving(Limited, times=[]) as (url, handler):
        task = toy(count=150)
        assert asked(url, task).score.value == 1.0
    done = len(task.test)
    assert len([1 for path, _ in handler.asked if path != "/completions"]) < 4 * done


def test_what_is_paid_no_more_is_told_at_once():
    body = {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}
    with (
        serving(broken(lambda s, b: s.send(429, body))) as (url, handler),
        pytest.raises(BackendError, match="current quota"),
    ):
        asked(url, toy(), limit=1)
    assert len(handler.asked) == 3 + len(WAYS)


def test_one_prompt_that_a_filter_withholds_is_one_answer_less():
    rows = [(f"note {i} {'cursed' if i % 10 == 0 else ''} answer={LABELS[i % 3]};", LABELS[i % 3])
            for i in range(90)]  # fmt: skip
    task = Task.from_examples(rows, instruction="Repeat the answer.", leaks="keep")
    cursed = sum("cursed" in e.text for e in task.test)
    with serving(KINDS["azure"]) as (url, _):
        found = asked(url, task)
    assert found.score.value == pytest.approx(1 - cursed / len(task.test))
    assert f"{cursed} of {len(task.test)} answers were withheld" in " ".join(found.notes)


def says(content, finish="stop", **more):
    def answer(server, body):
        server.reply([{**server.choice(0, content, **more), "finish_reason": finish}])

    return broken(answer)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (says(""), "they are empty"),
        (says(None), "they are empty"),
        (says("", "length", reasoning_content="let me think"), "inside a thought"),
        (says("<think>\nlet me think about", "length"), "inside a thought"),
        (says("", "length", reasoning="let me"), "Raise max_new_tokens"),
        (says("I would rather not say", "length"), "cut at the limit"),
        (says("As an assistant I cannot help"), "As an assistant"),
        (says("", "content_filter"), "filter"),
    ],
)
def test_a_dozen_useless_answers_end_a_technique_with_the_reason(kind, said, tmp_path):
    with serving(kind) as (url, handler):
        found = compare(
            toy(count=300), url, techniques=["zero-shot"], budget=Budget(tokens=10_000_000),
            out=tmp_path / "out",
        )  # fmt: skip
    (row,) = found.results
    assert row.status == "failed"
    assert said in row.reason
    # Some were asked how fast the server is, and some what it does for labels.
    assert len(handler.asked) <= 2 * PATIENCE + len(WAYS)


def test_useful_answers_first_and_empty_ones_then_end_it_too():
    class Tired(Imitation):
        def says(self, body):
            return super().says(body) if self.count < 25 else ""

    with serving(Tired) as (url, handler), pytest.raises(BackendError, match="empty"):
        asked(url, toy(count=600))
    assert len(handler.asked) < 100


def test_an_unreadable_answer_among_good_ones_is_no_reason_to_stop():
    class Moody(Imitation):
        def says(self, body):
            return super().says(body) if self.count % 3 == 0 else "no idea"

    with serving(Moody) as (url, _):
        found = asked(url, toy(count=150))
    assert 0.1 < found.score.value < 0.6


def test_empty_replies_are_not_cached(tmp_path, monkeypatch):
    monkeypatch.setenv("LUTHIER_RESPONSE_CACHE", str(tmp_path / "cache.sqlite"))

    class Forgetful(Imitation):
        silent = True

        def says(self, body):
            return None if self.silent and self.count % 7 == 0 else super().says(body)

    with serving(Forgetful) as (url, handler):
        task = toy(count=120)
        first = asked(url, task)
        assert first.score.value < 1.0
        before = len(handler.asked)
        handler.silent = False
        assert asked(url, task).score.value == 1.0
        again = len(handler.asked) - before
    empty = round(len(task.test) * (1 - first.score.value))
    assert again == empty + 5  # and the calls that find out what the server can


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "text", "text": "billing"}],
        [{"type": "thinking", "thinking": [{"type": "text", "text": "returns"}]},
         {"type": "text", "text": "bill"}, {"type": "text", "text": "ing"}],
        [{"type": "reasoning", "text": "delivery"}, {"type": "output_text", "text": "billing"}],
        "<think>\nreturns? delivery?\n</think>\n\nbilling",
        "returns? no.</think>\nbilling",
        "<thinking>returns</thinking><think>delivery</think> billing",
    ],
)  # fmt: skip
def test_content_in_parts_and_thoughts_are_read(content):
    with serving(says(content)) as (url, _):
        answer = load(url).adapt(decoding=Decoding(labels=LABELS)).respond("which?")
        assert (answer.parsed, answer.text) == ("billing", "billing")
        free = load(url).respond("which?")
    assert free.answer == "billing"
    assert "[" not in json.dumps(free.text)


@pytest.mark.parametrize(
    "content", ["Sure, here is the label:\n\n**billing**", "Let me see.\n\n\nbilling\n"]
)
def test_a_label_may_stand_below_an_introduction(content):
    with serving(says(content)) as (url, _):
        model = load(url).adapt(decoding=Decoding(labels=LABELS))
        assert model.respond("which?").parsed == "billing"


def test_a_stream_holds_no_thoughts_either():
    class Streaming(Imitation):
        def chat(self, body):
            if not body.get("stream"):
                return super().chat(body)
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            for piece in ("<th", "ink>\nlet", " me", "</thi", "nk>\n\nbill", "ing ", "now"):
                event = {"choices": [{"index": 0, "delta": {"content": piece}}]}
                self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
            end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
            self.wfile.write(f"data: {json.dumps(end)}\n\ndata: [DONE]\n\n".encode())
            self.close_connection = True
            return None

    with serving(Streaming) as (url, _):
        assert "".join(load(url).stream("which?")) == "billing now"


def test_a_model_that_can_stop_thinking_is_asked_to():
    class Thinker(Imitation):
        def chat(self, body):
            kwargs = body.get("chat_template_kwargs") or {}
            if kwargs.get("enable_thinking") is False:
                return super().chat(body)
            return self.reply([self.choice(0, None, reasoning_content="let me think")])

    with serving(Thinker) as (url, _):
        found = asked(url, toy())
    assert found.score.value == 1.0
    assert any("enable_thinking" in note for note in found.notes)
