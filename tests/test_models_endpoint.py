"""The endpoint backend against a real HTTP server on this machine that speaks the OpenAI
protocol."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from luthier.content import Image, Message, Text, ToolCall, ToolResult
from luthier.errors import BackendError, CapabilityError, ModelError, UserError
from luthier.models import endpoint_calls
from luthier.models.adaptation import Adaptation, Adapter, Decoding
from luthier.models.backend import ScoreRequest
from luthier.models.endpoint_client import open_client
from luthier.models.load import load
from luthier.models.prompt import Demonstration, Prompt, Rendered
from luthier.records import Capability, Example
from luthier.testing import check_backend

pytest.importorskip("openai", reason="needs luthier[endpoint]")


class Server(BaseHTTPRequestHandler):
    """Answers chat with the last word of the user's text; a token is a word, its log-probability
    minus its length."""

    echo = True
    ends = "stop"
    models = ("small",)
    asked: list = []  # noqa: RUF012 - shared on purpose

    def do_GET(self):
        self._send(200, {"object": "list", "data": [{"id": m} for m in self.models]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).asked.append(body)
        if self.path.endswith("/chat/completions"):
            content = body["messages"][-1]["content"]
            text = "picture" if isinstance(content, list) else content.split()[-1]
            if body.get("stream"):
                self._stream([" ", text, "\n", "more"])
                return
            message = {"role": "assistant", "content": f" {text}\nmore"}
            count = min(2, body["max_tokens"])
            usage = {"prompt_tokens": 7, "completion_tokens": count, "total_tokens": 7 + count}
            choices = [
                {"index": i, "message": message, "finish_reason": "stop"}
                for i in range(body.get("n", 1))
            ]
            self._send(200, {"id": "1", "object": "chat.completion", "created": 1, "model": "small",
                             "choices": choices, "usage": usage})  # fmt: skip
        elif not self.echo:
            self._send(400, {"error": {"message": "echo is not supported"}})
        else:
            parts = [*re.finditer(r"\s*\S+", body["prompt"]), None]
            tokens = [m.group() if m else " x" for m in parts]
            offsets = [m.start() if m else len(body["prompt"]) for m in parts]
            logs = [None] + [-float(len(t)) for t in tokens[1:]]
            top = [None] + [{t: v} for t, v in zip(tokens[1:], logs[1:], strict=True)]
            found = {"tokens": tokens, "text_offset": offsets, "token_logprobs": logs,
                     "top_logprobs": top}  # fmt: skip
            choice = {"index": 0, "text": body["prompt"], "logprobs": found,
                      "finish_reason": "length"}  # fmt: skip
            self._send(200, {"id": "1", "object": "text_completion", "created": 1,
                             "model": "small", "choices": [choice]})  # fmt: skip

    def _stream(self, pieces):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        events = [{"index": 0, "delta": {"content": piece}} for piece in pieces]
        events.append({"index": 0, "delta": {}, "finish_reason": self.ends})
        for event in events:
            chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "small",
                     "choices": [event]}  # fmt: skip
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def _send(self, code, body):
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(endpoint_calls, "FIRST_WAIT", 0.01)


@pytest.fixture
def serve():
    servers = []

    def start(**attributes):
        handler = type("Handler", (Server,), {"asked": [], **attributes})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/v1", handler

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_the_only_model_is_found_and_log_probabilities_are_detected(serve):
    url, _ = serve()
    model = load(url)
    assert model.backend.name == f"{url}#small"
    assert Capability.LOGPROBS in model.capabilities
    without = load(serve(echo=False)[0])
    assert Capability.LOGPROBS not in without.capabilities
    with pytest.raises(CapabilityError):
        without.backend.score([ScoreRequest(Rendered(text="a"), (" b",))], Adaptation())


@pytest.mark.parametrize("echo", [True, False])
def test_the_contract(serve, echo):
    check_backend(load(serve(echo=echo)[0]).backend)


def test_several_models_must_be_named(serve):
    url, _ = serve(models=("small", "large"))
    with pytest.raises(ModelError, match="large"):
        load(url)
    assert load(f"{url}#large").backend.model == "large"


def test_scores_are_summed_over_the_continuation_only(serve):
    model = load(serve()[0])
    requests = [ScoreRequest(Rendered(text="route it Label:"), (" billing", " account access"))]
    result = model.backend.score(requests, Adaptation())[0]
    assert result.logprobs == (-8.0, -8.0 - 7.0)
    assert result.tokens == (1, 2)
    assert result.greedy == (True, True)


def test_generates_parses_and_counts(serve):
    url, handler = serve(echo=False)
    model = load(url).adapt(
        prompt=Prompt(instruction="Route.", demonstrations=(Demonstration("hello", "billing"),)),
        decoding=Decoding(labels=("billing", "delivery"), stop=("\n",)),
    )
    inputs = [Example(str(i), f"message {i} delivery", "") for i in range(20)]
    answers = model.answer([*inputs, Example("x", "what is nothing", "")])
    assert [a.parsed for a in answers] == ["delivery"] * 20 + [None]
    assert answers[0].usage.prompt_tokens == 7
    sent = handler.asked[-1]["messages"]
    assert [m["role"] for m in sent] == ["system", "user", "assistant", "user"]


def test_adapters_are_refused_before_anything_is_sent(serve):
    url, handler = serve()
    model = load(url).adapt(adapter=Adapter({}, {}))
    before = len(handler.asked)
    with pytest.raises(CapabilityError, match="adapter"):
        model.answer([Example("1", "x", "")])
    assert len(handler.asked) == before


@pytest.mark.parametrize(
    ("code", "body", "said", "step"),
    [
        (401, '{"error": {"message": "no such key"}}', "no such key", "LUTHIER_API_KEY"),
        (404, "not here", "404", "name of the model"),
        (200, "<html>hello</html>", "no reply of the OpenAI API", "/v1"),
        (200, '{"choices": []}', "no reply of the OpenAI API", "/v1"),
        (200, '"hello"', "no reply of the OpenAI API", "/v1"),
    ],
)
def test_what_is_no_model_server_is_told_before_anything_is_planned(serve, code, body, said, step):
    def answer(handler):
        handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        handler.send_response(code)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body.encode())

    url, _ = serve(do_GET=answer, do_POST=answer)
    with pytest.raises(BackendError, match=said) as caught:
        load(f"{url}#small")
    assert step in str(caught.value)


def test_a_dead_server_is_named():
    with pytest.raises(BackendError, match=r"127\.0\.0\.1:9"):
        load("http://127.0.0.1:9/v1#small")


def test_cache_keeps_answers_apart_by_seed(serve, tmp_path, monkeypatch):
    monkeypatch.setenv("LUTHIER_RESPONSE_CACHE", str(tmp_path / "cache.sqlite"))
    url, handler = serve(echo=False)
    model = load(url)
    for seed in (0, 0, 1):
        model.answer([Example("1", "hello there", "")], seed=seed)
    asked = [b["seed"] for b in handler.asked if "seed" in b]
    assert asked == [0, 1]


def test_a_stream_is_the_text_in_pieces(serve):
    url, handler = serve(echo=False)
    model = load(url)
    for stop in (("\n",), ("mo",), ()):
        asked = model.adapt(decoding=Decoding(stop=stop))
        whole = asked.respond("to the parcel").text
        pieces = list(asked.stream("to the parcel"))
        assert "".join(pieces) == whole
        assert len(pieces) == (1 if stop == ("\n",) else 2 if stop == () else 1)
    assert [b.get("stream", False) for b in handler.asked[-6:]] == [False, True] * 3


def test_a_stream_fills_the_cache_and_is_answered_from_it(serve, tmp_path, monkeypatch):
    monkeypatch.setenv("LUTHIER_RESPONSE_CACHE", str(tmp_path / "cache.sqlite"))
    url, handler = serve(echo=False)
    model = load(url).adapt(decoding=Decoding(stop=()))
    first = list(model.stream("hello there"))
    sent = len(handler.asked)
    assert model.respond("hello there").text == "".join(first) == "there\nmore"
    assert list(model.stream("hello there")) == ["there\nmore"]
    assert len(handler.asked) == sent


def test_a_stream_that_fails_is_an_error_in_words(serve):
    model = load(serve(echo=False)[0])
    dead = open_client("http://127.0.0.1:9/v1")
    model.backend.caller.client = dead.with_options(max_retries=0)
    with pytest.raises(BackendError, match="failed"):
        list(model.stream("x"))


def test_pictures_are_sent_as_content_parts_and_text_as_plain_strings(serve, tmp_path):
    url, handler = serve()
    model = load(url).adapt(prompt=Prompt(instruction="Look."))
    (tmp_path / "a.jpg").write_bytes(b"jpeg")
    pictures = (Image(data=b"png"), Image(path=str(tmp_path / "a.jpg")))
    assert model.respond((Text("What is this?"), *pictures)).text == "picture"
    system, user = handler.asked[-1]["messages"]
    assert system == {"role": "system", "content": "Look."}
    assert user["content"] == [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,cG5n"}},
        {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,anBlZw=="}},
    ]
    model.respond((Text("only"), Text("words")))
    assert handler.asked[-1]["messages"][-1]["content"] == "only\nwords"
    with pytest.raises(UserError, match="cannot be read"):
        model.respond((Image(path=str(tmp_path / "none.png")),))
    with pytest.raises(CapabilityError, match="scores text only"):
        model.adapt(decoding=Decoding(labels=("a", "b"))).respond((Text("x"), *pictures))


def test_tool_turns_are_sent_in_the_form_of_the_api(serve):
    url, handler = serve()
    turns = [
        Message("user", "What is 2 + 3?"),
        Message("assistant", (ToolCall("add", {"a": 2, "b": 3}, id="1"),)),
        Message("tool", (ToolResult("1", "5"), ToolResult("2", "6"))),
        Message("user", "So?"),
    ]
    load(url).respond(turns)
    sent = handler.asked[-1]["messages"]
    function = {"name": "add", "arguments": '{"a": 2, "b": 3}'}
    assert sent[1] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "1", "type": "function", "function": function}],
    }
    assert sent[2] == {"role": "tool", "tool_call_id": "1", "content": "5"}
    assert sent[3] == {"role": "tool", "tool_call_id": "2", "content": "6"}
