"""The server as a process: under load its memory stays, SIGTERM loses nothing, and after kill -9 it
serves again, with all the feedback that it had accepted."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress

import httpx
import pytest
from benchmarks.soak import server, soak

from luthier.feedback.annotate.invites import invite_of
from luthier.ledger.feedback_store import FeedbackStore
from luthier.ledger.opinions import make_item
from luthier.ledger.run_ledger import LEDGER_FILE
from tests.serving_run import make_run

BODY = {"model": "toys", "messages": [{"role": "user", "content": "refund please"}]}


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "toys")


def test_memory_is_flat_and_no_request_is_lost(run_folder):
    """A minute of it; `python -m benchmarks.soak RUN --minutes 60` goes on for an hour."""
    with server(run_folder) as (process, address):
        found = soak(process, address, seconds=60)
    assert found["lost"] == []
    assert found["answered"] == found["requests"] > 100
    assert found["growth"] < 0.02


def test_sigterm_answers_what_is_under_way_and_exits_with_0(run_folder):
    with server(run_folder) as (process, address):
        statuses, ended = [], []

        def ask():
            with httpx.Client() as web:
                while not ended:
                    try:
                        reply = web.post(f"{address}/v1/chat/completions", json=BODY)
                        statuses.append(reply.status_code)
                    except httpx.TransportError as error:  # it takes no new ones
                        ended.append(error)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        while len(statuses) < 20:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        for thread in threads:
            thread.join()
    assert set(statuses) <= {200, 503}
    # a connection may close between two requests; none breaks within one
    assert all(isinstance(e, (httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadError))
               for e in ended)  # fmt: skip


def load(address):
    """Ask until the server is gone."""
    with suppress(httpx.TransportError), httpx.Client(timeout=None) as web:
        while True:
            web.post(f"{address}/v1/chat/completions", json=BODY)


def say(address, accepted, number):
    """Ask, and leave a thumb, an edit or a vote, until the server is gone; what was accepted is
    noted once the server has said so."""
    with suppress(httpx.TransportError), httpx.Client(timeout=None) as web:
        while True:
            text, number = f"where is parcel {number}", number + 4
            said = {"model": "toys/zero-shot", "text": text, "answer": "delivery"}
            if number % 2:
                said |= {"kind": "thumb", "value": int(number % 3 == 0)}
            else:
                said |= {"kind": "edit", "edited": f"it is parcel {number}"}
            reply = web.post(f"{address}/playground/opinion", json=said)
            if reply.status_code == 200:
                accepted.append((text, said["kind"], said.get("edited")))


def annotate(address, place, accepted):
    """Rate answers on the annotation page until the server is gone."""
    with suppress(httpx.TransportError), httpx.Client(timeout=None) as web:
        while True:
            item = web.get(f"{address}{place}/next").json()["item"]
            if item is None:
                return
            body = {
                "key": f"k-{item['id']}", "item": item["id"], "kind": "rating", "value": 4,
                "answer": item["answers"][0]["id"],
            }  # fmt: skip
            reply = web.post(f"{address}{place}/opinions", json=body)
            if reply.status_code == 200 and reply.json()["status"] == "stored":
                accepted.append((item["prompt"][-1]["text"], "rating", None))


def test_kill_9_under_load_loses_no_accepted_feedback(run_folder):
    accepted: list[tuple[str, str, str | None]] = []
    with FeedbackStore(run_folder / LEDGER_FILE) as store:
        store.add_items(make_item(f"question {n}", ["yes", "no"]) for n in range(400))
        invite = invite_of(store, "ada", kind="rating")
    place = f"/runs/toys/annotate/a/{invite.token}"
    with server(run_folder, "--root", str(run_folder.parent)) as (process, address):
        people = [threading.Thread(target=say, args=(address, accepted, n)) for n in range(4)]
        people += [threading.Thread(target=annotate, args=(address, place, accepted))]
        people += [threading.Thread(target=load, args=(address,)) for _ in range(2)]
        for person in people:
            person.start()
        kinds: set[str] = set()
        while len(accepted) < 60 or kinds != {"thumb", "edit", "rating"}:
            time.sleep(0.02)
            kinds = {kind for _, kind, _ in list(accepted)}
            assert process.poll() is None
            assert all(person.is_alive() for person in people)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        for person in people:
            person.join()
    with server(run_folder, "--root", str(run_folder.parent)) as (_, address):
        reply = httpx.post(f"{address}/v1/chat/completions", json=BODY, timeout=None)
        assert reply.status_code == 200
        assert httpx.get(f"{address}{place}/next", timeout=None).status_code == 200
    with FeedbackStore(run_folder / LEDGER_FILE) as store:
        items = {item.id: item.question for item in store.items()}
        kept = {
            (items[o.item], o.kind, o.text if o.kind == "edit" else None) for o in store.opinions()
        }
    assert len(accepted) >= 60
    assert set(accepted) <= kept


def test_after_kill_9_it_serves_again(run_folder):
    with server(run_folder) as (process, address):
        loads = [threading.Thread(target=load, args=(address,)) for _ in range(4)]
        for thread in loads:
            thread.start()
        assert httpx.post(f"{address}/v1/chat/completions", json=BODY).status_code == 200
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        for thread in loads:
            thread.join()
    with server(run_folder) as (_, address):
        assert httpx.post(f"{address}/v1/chat/completions", json=BODY).status_code == 200
