"""Keys, limits, headers, the audit log, hot loading, health and metrics."""

from __future__ import annotations

import base64
import json
import re
import shutil
import socket
import time

import pytest
from fastapi import APIRouter
from hypothesis import HealthCheck, given, settings
from starlette.testclient import TestClient

from luthier.cli.main import run as command
from luthier.errors import UserError
from luthier.serving.app import create
from luthier.serving.guard.api_keys import ApiKeys, add_key, remove_key
from luthier.serving.guard.audit_log import AuditLog
from luthier.serving.guard.gate import GateRules
from luthier.serving.guard.rate_limits import RateLimits
from luthier.serving.model_service import ModelService
from luthier.serving.served_models import ServedModels
from luthier.serving.server_settings import ServerSettings, read_settings
from tests.serving_run import client, make_run, running

CHAT = {"model": "toys", "messages": [{"role": "user", "content": "refund please"}]}
PATH = "/v1/chat/completions"


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "toys")


@pytest.fixture
def keys(tmp_path):
    path = tmp_path / "keys.json"
    return path, {role: add_key(path, f"{role}r", role) for role in ("use", "annotate", "admin")}


def bearer(key):
    return {"authorization": f"Bearer {key}"}


def test_a_key_is_kept_as_a_hash_and_shown_once(tmp_path, capsys):
    path = tmp_path / "keys.json"
    assert command(["key", "ann", "--file", str(path), "--role", "annotate"]) == 0
    key = capsys.readouterr().out.strip()
    text = path.read_text("utf-8")
    assert key not in text
    assert key.removeprefix("lut-") not in text
    assert path.stat().st_mode & 0o077 == 0
    found = ApiKeys(path)
    assert found.find(key).name == "ann"
    assert found.find(key + "x") is None
    assert found.find("") is None
    assert command(["key", "ann", "--file", str(path), "--remove"]) == 0
    assert found.find(key) is None
    assert command(["key", "ann", "--file", str(path), "--role", "king"]) == 2
    assert "annotate" in capsys.readouterr().err


def test_without_its_key_nobody_is_answered(run_folder, keys):
    path, by_role = keys
    with client(run_folder, rules=GateRules(keys=ApiKeys(path))) as server:
        for headers in ({}, bearer("lut-wrong"), {"authorization": "Bearer"}, bearer("\xe9")):
            reply = server.post(
                PATH, json=CHAT, headers={k: v.encode() for k, v in headers.items()}
            )
            assert reply.status_code == 401
            assert reply.json()["error"]["code"] == "invalid_api_key"
        assert server.post(PATH, json=CHAT, headers=bearer(by_role["use"])).status_code == 200
        login = base64.b64encode(f"me:{by_role['use']}".encode()).decode()
        page = server.get("/v1/models", headers={"authorization": f"Basic {login}"})
        assert page.status_code == 200
        assert server.get("/healthz").status_code == 200
        remove_key(path, "user")
        assert server.post(PATH, json=CHAT, headers=bearer(by_role["use"])).status_code == 401


def test_a_role_may_do_what_it_says(run_folder, keys, tmp_path):
    path, by_role = keys
    rules = GateRules(keys=ApiKeys(path))
    allowed = {"use": (403, 403), "annotate": (403, 200), "admin": (404, 200)}
    service = ModelService(ServedModels.of([str(run_folder)]))
    app = create(service, rules=rules, root=tmp_path)
    pages = APIRouter()
    pages.post("/thumb")(lambda: {"kept": True})
    app.include_router(pages)
    with TestClient(app) as server:
        for role, (admin, annotate) in allowed.items():
            headers = bearer(by_role[role])
            reply = server.post("/admin/models", json={"place": "none"}, headers=headers)
            assert reply.status_code == admin
            assert server.post("/thumb", headers=headers).status_code == annotate


def test_pages_of_another_origin_may_not_send(run_folder):
    with client(run_folder) as server:
        for headers in (
            {"origin": "http://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"},
        ):  # fmt: skip
            reply = server.post(PATH, json=CHAT, headers=headers)
            assert reply.status_code == 403
            assert reply.json()["error"]["code"] == "wrong_origin"
        same = {"origin": "http://testserver", "sec-fetch-site": "same-origin"}
        assert server.post(PATH, json=CHAT, headers=same).status_code == 200


def test_a_server_on_localhost_answers_to_its_own_name_only(run_folder):
    rules = ServerSettings(host="127.0.0.1").rules()
    with client(run_folder, rules=rules) as server:
        for host, status in (("localhost:8000", 200), ("127.0.0.1", 200), ("evil.example", 403)):
            assert server.get("/v1/models", headers={"host": host}).status_code == status


def test_every_reply_has_the_headers_that_guard_pages(run_folder):
    with client(run_folder) as server:
        for path in ("/v1/models", "/v1/none", "/healthz"):
            headers = server.get(path).headers
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert headers["x-content-type-options"] == "nosniff"


def test_another_address_needs_keys(tmp_path, capsys):
    assert command(["serve", "no-run", "--host", "0.0.0.0", "--port", "0"]) == 2
    assert "there are no keys" in capsys.readouterr().err
    (tmp_path / "empty.json").write_text('{"keys": []}', "utf-8")
    with pytest.raises(UserError, match="no keys"):
        ServerSettings(host="0.0.0.0", keys=str(tmp_path / "empty.json")).rules()
    add_key(tmp_path / "keys.json", "a", "use")
    assert ServerSettings(host="0.0.0.0", keys=str(tmp_path / "keys.json")).rules().hosts is None


def test_a_body_that_is_too_large_or_too_slow_is_refused(run_folder):
    rules = GateRules(most_bytes=2000, body_seconds=0.2)
    with client(run_folder, rules=rules) as server:
        large = server.post(PATH, json={**CHAT, "context": "x" * 3000})
        assert large.status_code == 413
        pieces = (b"x" * 500 for _ in range(10))  # without a length
        headers = {"content-type": "application/json"}
        assert server.post(PATH, content=pieces, headers=headers).status_code == 413
    service = ModelService(ServedModels.of([str(run_folder)]))
    started = running(service, rules=rules)
    host, port = next(started).removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as slow:
        head = f"POST {PATH} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
        slow.sendall(f"{head}content-length: 900\r\n\r\n{{".encode())
        slow.settimeout(20)
        assert b" 408 " in slow.recv(200)
    next(started, None)


def test_a_client_that_asks_too_often_waits(run_folder):
    with client(run_folder, rules=GateRules(rates=RateLimits(3))) as server:
        statuses = [server.get("/v1/models").status_code for _ in range(5)]
        assert statuses == [200, 200, 200, 429, 429]
        reply = server.get("/v1/models")
        assert 1 <= int(reply.headers["retry-after"]) <= 21
        assert server.get("/healthz").status_code == 200


def test_the_audit_log_says_who_did_what_and_no_text(run_folder, keys, tmp_path):
    path, by_role = keys
    log = tmp_path / "audit.jsonl"
    rules = GateRules(keys=ApiKeys(path), audit=AuditLog(log))
    with client(run_folder, rules=rules) as server:
        server.post(PATH, json=CHAT, headers=bearer(by_role["use"]))
        server.post(PATH, json=CHAT)
    text = log.read_text("utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    assert [(x["who"], x["status"], x["model"]) for x in lines] == [
        ("user", 200, "toys"), (None, 401, None),
    ]  # fmt: skip
    assert "refund" not in text
    assert by_role["use"] not in text


def test_models_come_and_go_within_the_folder_of_runs(run_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "runs/later")
    (tmp_path / "secret").mkdir()
    with client(run_folder, root=tmp_path / "runs") as server:
        assert server.post(PATH, json={**CHAT, "model": "later/few-shot"}).status_code == 404
        loaded = server.post("/admin/models", json={"place": "later"}).json()["loaded"]
        assert "later/few-shot" in loaded
        assert server.post(PATH, json={**CHAT, "model": "later/few-shot"}).status_code == 200
        for place in ("../secret", "/etc", "", "later/../../secret", "none", "a\0b"):
            assert server.post("/admin/models", json={"place": place}).status_code in (400, 404)
        shutil.rmtree(tmp_path / "runs/later")  # a run deleted while it is served
        assert server.post(PATH, json={**CHAT, "model": "later/few-shot"}).status_code == 200
        gone = server.delete("/admin/models/later").json()["unloaded"]
        assert sorted(gone) == sorted(loaded)
        assert server.post(PATH, json={**CHAT, "model": "later/few-shot"}).status_code == 404
        assert server.delete("/admin/models/later").status_code == 404
    with client(run_folder) as server:
        assert server.post("/admin/models", json={"place": "later"}).status_code == 403


def test_health_readiness_and_metrics(run_folder):
    with client(run_folder) as server:
        assert server.get("/readyz").json()["ready"] is True
        server.post(PATH, json=CHAT)
        server.post(PATH, json={**CHAT, "model": "none"})
        text = server.get("/metrics").text
        counted = re.search(
            r'luthier_requests_total\{model="toys",route="chat",status="200"\} (.*)', text
        )
        assert float(counted[1]) == 1
        assert "luthier_requests_under_way 0.0" in text
        assert 'model="none"' not in text
        server.app.state.service.draining = True
        assert server.get("/readyz").status_code == 503
        assert server.post(PATH, json=CHAT).status_code == 503


def test_a_trace_has_the_genai_attributes(run_folder):
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    spans, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(provider)
    with client(run_folder) as server:
        server.post(PATH, json={**CHAT, "temperature": 0.5})
    (span,) = [s for s in spans.get_finished_spans() if s.name == "chat toys"]
    told = dict(span.attributes)
    assert told["gen_ai.operation.name"] == "chat"
    assert told["gen_ai.request.temperature"] == 0.5
    assert told["gen_ai.usage.input_tokens"] > 0


def test_the_settings_of_a_file(tmp_path):
    path = tmp_path / "serve.yaml"
    path.write_text("runs: runs/toys\nport: 0\nrequests_per_minute: 60\nnames: [a, b]\n", "utf-8")
    found = read_settings(path)
    assert found.runs == ("runs/toys",)
    assert found.with_options(port=9, host=None).port == 9
    assert found.rules().rates.per_minute == 60
    for text, words in (
        ("prot: 1", "port"),
        ("port: many", "port"),
        ("- a", "no keys"),
        ("a: [", "cannot be read"),
    ):
        path.write_text(text, "utf-8")
        with pytest.raises(UserError, match=words):
            read_settings(path)


@pytest.mark.slow
def test_no_input_makes_the_server_fail(run_folder):
    import schemathesis

    service = ModelService(ServedModels.of([str(run_folder)]))
    app = create(service)
    with TestClient(app, raise_server_exceptions=False):
        schema = schemathesis.openapi.from_asgi("/openapi.json", app)
        seen = set()
        for found in schema.get_all_operations():
            operation = found.ok()

            @given(case=operation.as_strategy())
            @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
            def ask(case):
                reply = case.call()
                seen.add(reply.status_code)
                assert reply.status_code < 500, reply.text

            ask()
        assert 400 in seen


def test_rates_fill_again(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    limits = RateLimits(60)
    assert [limits.wait_seconds("a") for _ in range(61)][-2:] == [0, 1]
    assert limits.wait_seconds("b") == 0
    now[0] += 2
    assert [limits.wait_seconds("a") for _ in range(3)] == [0, 0, 1]
