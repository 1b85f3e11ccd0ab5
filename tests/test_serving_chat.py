"""The served API: model names, chat completions, and errors in OpenAI's form."""

from __future__ import annotations

import json
import socket
import sys
import types

import pytest

import luthier
from luthier.cli.main import run as command
from luthier.errors import BackendError, UserError
from luthier.serving.endpoint_check import verify_run
from luthier.serving.listening import free_socket
from luthier.serving.model_service import ModelService
from luthier.serving.served_models import ServedModels
from tests.serving_run import client, make_run, running


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "toys")


@pytest.fixture(scope="module")
def server(run_folder):
    with client(run_folder) as opened:
        yield opened


def chat(server, model, text="refund please", **more):
    body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
    return server.post("/v1/chat/completions", json=body)


def test_every_adaptation_is_a_model_and_the_pick_has_the_name_of_the_run(server, run_folder):
    data = server.get("/v1/models").json()["data"]
    assert [m["id"] for m in data] == ["toys", "toys/few-shot", "toys/zero-shot"]
    assert all(m["object"] == "model" and m["created"] > 0 for m in data)
    pick = luthier.Comparison.load(run_folder).verdict.pick
    assert data[0]["luthier"]["technique"] == pick


def test_one_base_carries_all_adaptations(run_folder):
    served = ServedModels.of([str(run_folder)])
    assert len({id(s.model.backend) for s in served.all()}) == 1


def test_a_chat_completion_is_what_the_model_answers(server, run_folder):
    for name in ("few-shot", "zero-shot"):
        model = luthier.load(run_folder / name)
        for text in ("refund please", "parcel late again"):
            reply = chat(server, f"toys/{name}", text).json()
            assert reply["object"] == "chat.completion"
            assert reply["choices"][0]["message"]["content"] == model.ask(text)
            assert reply["choices"][0]["finish_reason"] == "stop"
            usage = reply["usage"]
            assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 0


def test_a_model_that_is_not_served_is_404(server):
    reply = chat(server, "toys/nix")
    assert reply.status_code == 404
    assert reply.json()["error"]["code"] == "model_not_found"
    assert reply.json()["error"]["param"] == "model"


@pytest.mark.parametrize(
    "wrong", [{"max_tokens": -1}, {"temperature": 3}, {"messages": []}, {"n": 0}, {"stop": 5}]
)
def test_what_cannot_be_followed_is_400_and_names_the_field(server, wrong):
    reply = chat(server, "toys", **wrong)
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["param"].startswith(next(iter(wrong)))


def test_bytes_that_are_no_json_are_400(server):
    headers = {"content-type": "application/json"}
    reply = server.post("/v1/chat/completions", content=b'{"model": "\xff\xfe', headers=headers)
    assert reply.status_code == 400
    assert reply.json()["error"]["type"] == "invalid_request_error"


def test_a_page_there_is_not_is_404_in_the_same_form(server):
    reply = server.get("/v1/nothing")
    assert reply.status_code == 404
    assert "/v1/nothing" in reply.json()["error"]["message"]


def test_the_studio_is_mounted_where_it_is_installed(run_folder, monkeypatch, tmp_path):
    from fastapi import APIRouter

    pages = types.ModuleType("luthier.studio")
    pages.__spec__ = types.SimpleNamespace(name="luthier.studio", origin="test")
    (tmp_path / "style.css").write_text("b{}", "utf-8")

    def router(service, runs, *_, **__):
        made = APIRouter()
        made.get("/names")(lambda: list(service.served.names()))
        return made

    pages.router, pages.STATIC = router, tmp_path
    monkeypatch.setitem(sys.modules, "luthier.studio", pages)
    with client(run_folder) as opened:
        assert opened.get("/names").json() == ["toys", "toys/few-shot", "toys/zero-shot"]
        assert opened.get("/static/style.css").text == "b{}"
        assert chat(opened, "toys").status_code == 200
    with client(run_folder, studio=False) as opened:
        assert opened.get("/names").status_code == 404


def test_a_port_in_use_is_said_before_anything_loads(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match="in use"):
            free_socket("127.0.0.1", port)
        assert command(["serve", "no-such-run", "--port", str(port)]) == 2
    assert "--port" in capsys.readouterr().err


def test_a_folder_without_models_is_refused(tmp_path):
    with pytest.raises(UserError, match="no adapted model"):
        ServedModels.of([str(tmp_path)])


@pytest.fixture(scope="module")
def address(run_folder):
    yield from running(ModelService(ServedModels.of([str(run_folder)])))


def test_verify_finds_all_answers_equal(run_folder, address, capsys):
    assert command(["verify", str(run_folder), "--url", f"{address}/v1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [t["technique"] for t in told["techniques"]] == ["zero-shot", "few-shot"]
    for each in told["techniques"]:
        assert each["equal"] == each["examples"] > 10
        assert each["others"] == []


def test_verify_finds_the_answer_that_is_another_one(run_folder, address):
    comparison = luthier.Comparison.load(run_folder)
    # few-shot's examples, asked of zero-shot
    (found,) = verify_run(
        comparison, f"{address}/v1", run="toys", techniques=["few-shot"],
        names={"few-shot": "toys/zero-shot"},
    )  # fmt: skip
    by_id = {
        name: {s.example_id: s.prediction for s in comparison.result(name).best.sample_scores}
        for name in ("few-shot", "zero-shot")
    }
    differ = {i for i, said in by_id["few-shot"].items() if said != by_id["zero-shot"][i]}
    assert {other.example_id for other in found.others} == differ
    assert differ
    assert found.equal == found.examples - len(differ)


def test_verify_says_what_it_cannot_ask(run_folder, address, capsys):
    with pytest.raises(UserError, match="no finished technique"):
        verify_run(
            luthier.Comparison.load(run_folder), f"{address}/v1", run="toys", techniques=["lora"]
        )
    assert command(["verify", str(run_folder), "--url", f"{address}/v1", "-t", "few-shot"]) == 0
    assert "100 %" in capsys.readouterr().out
    with pytest.raises(BackendError, match="toys2/few-shot"):
        verify_run(luthier.Comparison.load(run_folder), f"{address}/v1", run="toys2",
                   techniques=["few-shot"])  # fmt: skip
