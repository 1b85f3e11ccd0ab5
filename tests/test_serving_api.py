"""The API over a local base: what clients of OpenAI's API send, over a real connection."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import math
import threading
import time

import httpx
import openai
import pytest
import torch
from fastapi import Request

from luthier.content import Conversation
from luthier.engine.continuous import ContinuousEngine
from luthier.models.adaptation import Adaptation, Decoding, VirtualTokens
from luthier.models.model import Model
from luthier.models.prompt import Prompt
from luthier.serving.api_errors import ApiError
from luthier.serving.disconnects import while_connected
from luthier.serving.model_service import ModelService, ServedQuestion
from luthier.serving.served_models import ServedModels
from tests import tiny
from tests.serving_run import running

LABELS = ("billing", "delivery", "refunds-and-returns")


@pytest.fixture(scope="module")
def models():
    backend = tiny.backend("llama")
    torch.manual_seed(0)
    soft = VirtualTokens(torch.randn(1, 3, backend.facts.hidden_size))
    prompt = Prompt("Route the message.", labels=LABELS)
    free = Decoding(max_new_tokens=12, stop=())
    return {
        "labels": Model(backend, Adaptation(prompt, decoding=Decoding(labels=LABELS))),
        "soft": Model(backend, Adaptation(prompt, soft, decoding=Decoding(labels=LABELS))),
        "free": Model(backend, Adaptation(Prompt("Answer."), decoding=free)),
        "free-soft": Model(backend, Adaptation(Prompt("Answer."), soft, decoding=free)),
    }


@pytest.fixture(scope="module")
def service(models):
    served = ServedModels()
    for name, model in models.items():
        served.put(name, model)
    return ModelService(served)


@pytest.fixture(scope="module")
def address(service):
    yield from running(service)


@pytest.fixture(scope="module")
def client(address):
    return openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)


def ask(client, model, text="where is my parcel", **more):
    turns = [{"role": "user", "content": text}]
    return client.chat.completions.create(model=model, messages=turns, **more)


def test_a_classification_model_answers_with_its_label_as_it_was_evaluated(client, models):
    for name in ("labels", "soft"):
        for text in ("where is my parcel", "money back", "x"):
            wanted = models[name].respond(text)
            reply = ask(client, name, text, logprobs=True, top_logprobs=2, temperature=1.5)
            choice = reply.choices[0]
            assert choice.message.content == wanted.answer
            (token,) = choice.logprobs.content
            assert token.token == wanted.answer
            told = {t.token: math.exp(t.logprob) for t in token.top_logprobs}
            assert told == pytest.approx(wanted.label_probabilities, abs=1e-3)
            assert choice.model_extra["luthier"]["probabilities"] == pytest.approx(
                wanted.label_probabilities, abs=1e-3
            )
            assert reply.usage.prompt_tokens == wanted.usage.prompt_tokens


def test_free_text_is_what_the_model_generates_streamed_or_not(client, models):
    for name in ("free", "free-soft"):
        wanted = models[name].respond("hello there")
        reply = ask(client, name, "hello there", logprobs=True, top_logprobs=3)
        assert reply.choices[0].message.content == wanted.answer
        assert reply.choices[0].finish_reason == {"length": "length"}.get(
            wanted.finish_reason, "stop"
        )
        assert reply.usage.completion_tokens == wanted.usage.generated_tokens
        tokens = reply.choices[0].logprobs.content
        assert len(tokens) == wanted.usage.generated_tokens
        assert all(len(t.top_logprobs) <= 3 for t in tokens)
        assert all(t.logprob == t.top_logprobs[0].logprob for t in tokens)  # greedy
        pieces = list(
            ask(client, name, "hello there", stream=True, stream_options={"include_usage": True})
        )
        text = "".join(p.choices[0].delta.content or "" for p in pieces if p.choices)
        assert text == wanted.answer
        assert pieces[-1].usage.completion_tokens == wanted.usage.generated_tokens
        assert pieces[-2].choices[0].finish_reason == reply.choices[0].finish_reason


def test_what_a_request_sets_is_followed(client, models):
    short = ask(client, "free", max_tokens=3)
    assert short.usage.completion_tokens <= 3
    several = ask(client, "free", n=3, seed=7, temperature=1.0)
    again = ask(client, "free", n=3, seed=7, temperature=1.0)
    texts = [c.message.content for c in several.choices]
    assert texts == [c.message.content for c in again.choices]
    assert len(set(texts)) > 1
    whole = ask(client, "free").choices[0].message.content
    mark = whole[3:5]
    assert (
        ask(client, "free", stop=[mark]).choices[0].message.content
        == whole[: whole.index(mark)].strip()
    )


def test_a_json_schema_holds_the_answer(client):
    schema = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"],
              "additionalProperties": False}  # fmt: skip
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    reply = ask(client, "free", response_format=form, max_tokens=60)
    assert json.loads(reply.choices[0].message.content)["n"] in (1, 2)


def test_completions_go_on_with_the_text_as_it_is(client, models):
    backend = models["free"].backend
    reply = client.completions.create(
        model="free-soft", prompt=["where is", "my parcel"], max_tokens=4, logprobs=2
    )
    assert [c.index for c in reply.choices] == [0, 1]
    for choice in reply.choices:
        assert "".join(choice.logprobs.tokens) == choice.text
        assert len(choice.logprobs.tokens) == 4
    pieces = client.completions.create(
        model="free-soft", prompt="where is", max_tokens=4, stream=True
    )
    assert "".join(p.choices[0].text for p in pieces) == reply.choices[0].text
    ids = backend.tokenizer("where is", add_special_tokens=False).input_ids
    by_id = client.completions.create(model="free-soft", prompt=ids, max_tokens=4)
    assert by_id.choices[0].text == reply.choices[0].text


def test_echo_tells_the_log_probability_of_every_token(client, models):
    for name in ("free", "free-soft"):
        model, text = models[name], "where is my parcel"
        (wanted,) = model.backend.text_logprobs([text], model.adaptation)
        reply = client.completions.create(
            model=name, prompt=text, max_tokens=1, echo=True, logprobs=1
        )
        found = reply.choices[0].logprobs
        count = len(wanted.tokens)
        assert tuple(found.tokens[:count]) == wanted.tokens
        assert found.token_logprobs[:count] == pytest.approx(list(wanted.logprobs), abs=1e-3)
        assert len(found.tokens) == count + 1
        assert reply.choices[0].text.startswith(text)
        for token, value, top in zip(
            found.tokens, found.token_logprobs, found.top_logprobs, strict=True
        ):
            assert max(top.values()) >= value
            assert token in top or max(top.values()) > value


def test_luthiers_own_endpoint_backend_scores_through_it(address, models):
    import luthier

    remote = luthier.load(f"{address}/v1#free")
    assert luthier.records.Capability.LOGPROBS in remote.capabilities
    from luthier.models.backend import ScoreRequest
    from luthier.models.prompt import Rendered

    request = ScoreRequest(Rendered("Input: parcel\nLabel:"), (" billing", " delivery"))
    (found,) = remote.backend.score([request], Adaptation())
    (wanted,) = models["free"].backend.score([request], Adaptation())
    assert found.logprobs == pytest.approx(wanted.logprobs, abs=2e-3)
    assert found.greedy == wanted.greedy


def test_embeddings_are_of_length_one(client):
    reply = client.embeddings.create(model="free", input=["a text", "another"])
    for each in reply.data:
        assert sum(v * v for v in each.embedding) == pytest.approx(1, abs=1e-4)
    assert reply.data[0].embedding != reply.data[1].embedding


def test_many_clients_of_many_adaptations_get_their_own_answers(client, models):
    jobs = [(name, f"message {i} about a parcel") for i in range(6) for name in models]
    wanted = [models[name].respond(text).answer for name, text in jobs]
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda job: ask(client, *job).choices[0].message.content, jobs))
    assert found == wanted


def test_too_many_are_told_when_to_come_again(service, address, monkeypatch):
    monkeypatch.setattr(service, "most_under_way", 0)
    body = {"model": "free", "messages": [{"role": "user", "content": "x"}]}
    reply = httpx.post(f"{address}/v1/chat/completions", json=body)
    assert reply.status_code == 429
    assert int(reply.headers["retry-after"]) >= 1
    assert reply.json()["error"]["type"] == "rate_limit_error"


def test_work_ends_where_its_client_goes(service, address, monkeypatch):
    step = ContinuousEngine.step

    def slowly(engine):  # else the tiny base is done before the first piece is read
        time.sleep(0.02)
        step(engine)

    monkeypatch.setattr(ContinuousEngine, "step", slowly)
    body = {"model": "free", "messages": [{"role": "user", "content": "x"}], "stream": True,
            "max_tokens": 400, "temperature": 1.0}  # fmt: skip
    with httpx.stream("POST", f"{address}/v1/chat/completions", json=body) as reply:
        lines = reply.iter_lines()
        while '"content": ""' in (line := next(lines)) or '"content"' not in line:
            pass  # the role comes before the work begins
        assert service.worker.under_way == 1
    deadline = time.monotonic() + 30
    while service.worker.under_way and time.monotonic() < deadline:
        time.sleep(0.01)
    assert service.worker.under_way == 0


def test_a_server_that_ends_answers_what_was_handed_in():
    served = ServedModels()
    backend = tiny.backend("llama")
    decoding = Decoding(max_new_tokens=30, stop=())
    served.put("free", Model(backend, Adaptation(decoding=decoding)))
    service = ModelService(served)
    address = next(started := running(service))
    replies = []

    def post(i):
        body = {"model": "free", "messages": [{"role": "user", "content": f"x{i}"}]}
        replies.append(httpx.post(f"{address}/v1/chat/completions", json=body, timeout=60))

    threads = [threading.Thread(target=post, args=(i,)) for i in range(5)]
    for thread in threads:
        thread.start()
    while service.worker.under_way < 5 and len(replies) < 5:
        time.sleep(0.005)
    next(started, None)  # it is asked to end, as SIGTERM does
    for thread in threads:
        thread.join()
    assert [r.status_code for r in replies] == [200] * 5


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("chat/completions", {"top_logprobs": 2}, "top_logprobs"),
        ("chat/completions", {"n": 2, "stream": True}, "n"),
        ("chat/completions", {"response_format": {"type": "json_schema"}}, "response_format"),
        ("chat/completions", {"tools": [{"type": "function"}]}, "tools"),
        ("chat/completions", {"messages": [{"role": "assistant", "content": "a"}]}, None),
        ("completions", {"prompt": [[999_999]]}, "prompt"),
        ("completions", {"prompt": []}, "prompt"),
        ("embeddings", {"input": " "}, "input"),
        ("embeddings", {"input": "a", "dimensions": 3}, "dimensions"),
    ],
)
def test_what_cannot_be_done_is_400(address, path, body, param):
    whole = {"model": "free", "messages": [{"role": "user", "content": "x"}], "prompt": "x",
             "input": "x", **body}  # fmt: skip
    reply = httpx.post(f"{address}/v1/{path}", json=whole)
    assert reply.status_code == 400
    assert (reply.json()["error"]["param"] or "").startswith(param or "")
    assert reply.json()["error"]["message"]


def test_a_prompt_longer_than_the_context_is_cut_as_at_the_evaluation(client, models):
    text = "word " * 900
    assert ask(client, "labels", text).choices[0].message.content == models["labels"].ask(text)
    assert ask(client, "free", text).choices[0].message.content == models["free"].ask(text)


def test_what_was_kept_of_a_model_goes_with_it():
    backend = tiny.backend("llama")
    served, decoding = ServedModels(), Decoding(labels=LABELS)
    for name in ("a", "b"):
        served.put(name, Model(backend, Adaptation(Prompt(name), decoding=decoding)))
    service = ModelService(served)

    def kept():
        with backend.continuous() as engine:
            return engine.store.bytes

    ask_it = ServedQuestion(Conversation.of("where is my parcel"))
    service.submit("a", ask_it).future.result()
    assert kept() > 0
    assert service.unload("a") == ("a",)
    service.close()  # after the turn that lets go
    assert kept() == 0
    with pytest.raises(ApiError, match="does not exist"):
        service.find("a")


def test_work_ends_where_its_client_has_gone():
    async def asked(*, leaves):
        news, ended = asyncio.Queue(), []

        async def work():
            if leaves:
                await news.put({"type": "http.disconnect"})
            try:
                await asyncio.sleep(60 if leaves else 0)
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise
            return "answer"

        try:
            return await while_connected(Request({"type": "http"}, news.get), work())
        except ApiError as error:
            await asyncio.sleep(0)
            return error.status, ended

    assert asyncio.run(asked(leaves=False)) == "answer"
    assert asyncio.run(asked(leaves=True)) == (499, ["cancelled"])
