"""The page's requests: who may ask, what is next, and that nothing accepted is ever lost."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from luthier.errors import FeedbackError
from luthier.feedback.annotate.choose_item import ItemChooser, difference, disagreement
from luthier.feedback.annotate.invites import invite_of
from luthier.ledger.feedback_store import FeedbackStore
from luthier.ledger.opinions import Invite, ItemAnswer, Opinion, make_item

SCRIPT = Path(__file__).with_name("annotation_server.py")


def filled(path, count, *people):
    with FeedbackStore(path) as store:
        store.add_items(
            make_item(f"q{i}", [ItemAnswer("", f"a{i}", "secret-model", "secret"), f"b{i}"])
            for i in range(count)
        )
        for who in people:
            store.add_invite(Invite(f"token-{who}", who))


@contextmanager
def served(path, people=2):
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(path), str(people)], stdout=subprocess.PIPE, text=True
    )
    try:
        yield process, f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def call(address, body=None, content_type="application/json", raw=None):
    data = raw if raw is not None else None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": content_type})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def vote(item, key, **more):
    first, second = (a["id"] for a in item["answers"])
    return {
        "key": key, "item": item["id"], "kind": "preference", "answer": first, "other": second,
        "grade": "better", "shown": [first, second], **more,
    }  # fmt: skip


@pytest.fixture
def page(tmp_path):
    filled(tmp_path / "l.sqlite", 3, "ada", "bo")
    with FeedbackStore(tmp_path / "l.sqlite") as store:
        store.add_invite(Invite("late", "cy", expires="2020-01-01T00:00:00.000+00:00"))
        with served(tmp_path / "l.sqlite") as (_, address):
            yield store, address


def test_a_vote_from_the_page_to_the_store_and_back(page):
    store, address = page
    home = f"{address}/a/token-ada"
    status, found = call(f"{home}/next")
    assert status == 200
    assert "secret" not in json.dumps(found)  # nobody sees which model or technique answered
    assert found["progress"] == {"done": 0, "left": 3}
    item = found["item"]
    body = vote(item, "k1", unsafe=[item["answers"][1]["id"]], seconds=2.5)
    assert call(f"{home}/opinions", body)[1]["status"] == "stored"
    assert call(f"{home}/opinions", body)[1]["status"] == "already"  # a double submit
    assert call(f"{home}/opinions", vote(item, "k2"))[1]["status"] == "already"  # another tab
    (opinion,) = store.opinions()
    assert (opinion.who, opinion.unsafe) == ("ada", (item["answers"][1]["id"],))
    assert opinion.shown == tuple(a["id"] for a in item["answers"])
    assert call(f"{home}/next")[1]["item"]["id"] != item["id"]
    key = f"token-ad-{body['key']}"
    assert (
        call(f"{address}/a/token-bo/undo", {"key": key, "item": item["id"]})[1]["status"] == "gone"
    )
    undone = call(f"{home}/undo", {"key": key, "item": item["id"]})[1]
    assert (undone["status"], undone["item"]["id"]) == ("undone", item["id"])
    assert store.opinions() == []


def test_what_is_wrong_is_said_and_not_stored(page):
    store, address = page
    home = f"{address}/a/token-ada"
    item = call(f"{home}/next")[1]["item"]
    assert call(f"{address}/a/late/next")[0] == 410
    assert call(f"{address}/a/nobody/opinions", vote(item, "k"))[0] == 410
    assert call(f"{home}/opinions", vote(item, "k"), content_type="text/plain")[0] == 415
    assert call(f"{home}/opinions", raw=b"{")[0] == 400
    assert call(f"{home}/opinions", raw=b"[]")[0] == 400
    assert call(f"{home}/opinions", raw=b'"' + b"x" * 9_000_000 + b'"')[0] == 413
    for body in (
        vote(item, "k", grade="much"), vote(item, "k", answer=3), vote(item, "k", unsafe="x"),
        vote(item, "k", value="1"), vote(item, "k", answer="none"), vote(item, ""),
        vote(item, "k", kind="skip"),
    ):  # fmt: skip
        status, found = call(f"{home}/opinions", body)
        assert status == 422, body
        assert found["error"]
    store.withdraw_item(item["id"])
    status, found = call(f"{home}/opinions", vote(item, "k"))
    assert (status, found["error"]) == (410, f"The item '{item['id']}' is gone")
    assert store.opinions() == []


def test_the_pages_forbid_everything_from_elsewhere(page):
    _, address = page
    with urllib.request.urlopen(f"{address}/a/token-ada") as answer:
        policy, text = answer.headers["Content-Security-Policy"], answer.read().decode()
    assert "default-src 'none'" in policy
    assert "'unsafe-inline'" not in policy.partition("script-src")[2].partition(";")[0]
    assert "http://" not in text
    assert "https://" not in text
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(f"{address}/a/late")
    with error.value:
        assert error.value.code == 403
        assert "ended on 2020-01-01" in error.value.read().decode()


def test_what_to_ask_next(tmp_path):
    with FeedbackStore(tmp_path / "l.sqlite") as store:
        alike = make_item("q1", ["one two three", "one two three four"])
        apart = make_item("q2", ["one two three", "five six seven"])
        split = make_item("q3", ["one two three", "one two three five"])
        store.add_items([alike, apart, split])
        first, second = (a.id for a in split.answers)
        for who, pair in (("x", (first, second)), ("y", (second, first))):
            store.add_opinion(
                Opinion(who, split.id, "preference", who, source="judge", answer=pair[0],
                        other=pair[1], grade="better")
            )  # fmt: skip
        clock = [0.0]
        chooser = ItemChooser(store, people_per_item=1, clock=lambda: clock[0])
        assert chooser.next_item("ada", "preference") == split  # judges disagree
        assert chooser.next_item("bo", "preference") == apart  # the other is held by ada
        assert (
            chooser.next_item("ada", "preference") == split
        )  # she gets it again until she answers
        clock[0] = 700.0
        assert chooser.next_item("bo", "preference") == split  # ada has left it
        for item in (split, apart, alike):
            store.add_opinion(Opinion(f"s{item.id}", item.id, "skip", "bo", text="no"))
        assert chooser.next_item("bo", "preference") is None
        assert chooser.progress("ada", "preference") == {"done": 0, "left": 3}
        chooser.answered(split.id, "ada", counts=True)
        assert chooser.next_item("cy", "preference") == apart  # one person has judged the first
        chooser.taken_back(split.id, "ada")
        assert chooser.progress("ada", "preference")["left"] == 3
    assert disagreement([1, -2]) == 1.0
    assert disagreement([1]) == 0.0
    assert difference(["a b", "a b"]) == 0.0
    assert difference(["a"]) == 0.0


def test_an_opinion_that_the_store_told_of_first_counts_once(tmp_path):
    with FeedbackStore(tmp_path / "l.sqlite") as store:
        item = make_item("q", ["yes", "no"])
        store.add_items([item])
        chooser = ItemChooser(store, people_per_item=2)
        first, second = (a.id for a in item.answers)
        store.add_opinion(
            Opinion("k", item.id, "preference", "ada", answer=first, other=second, grade="better")
        )
        assert chooser.next_item("ada", "preference") is None  # it reads the store: ada has judged
        chooser.answered(item.id, "ada", counts=True)
        assert chooser.next_item("bo", "preference") == item


def test_invites_are_made_once(tmp_path):
    with FeedbackStore(tmp_path / "l.sqlite") as store:
        first = invite_of(store, "ada")
        assert invite_of(store, "ada") == first
        assert invite_of(store, "ada", kind="rating").token != first.token
        assert invite_of(store, "ada", days=1).expires is not None
        with pytest.raises(FeedbackError, match="asked for 'skip'"):
            invite_of(store, "ada", kind="skip")
        with pytest.raises(FeedbackError, match="names nobody"):
            invite_of(store, " ")


def annotate(address, who, accepted, errors):
    """One person who judges until nothing is left, and sends again what was not answered."""
    home, number = f"{address()}/a/token-{who}", 0
    while True:
        try:
            home = f"{address()}/a/token-{who}"
            item = call(f"{home}/next")[1]["item"]
            if item is None:
                return
            body = vote(item, f"{who}-{item['id']}")
            found = call(f"{home}/opinions", body)[1]
            if found["status"] not in ("stored", "already"):
                errors.append(found)
                return
            accepted.add(body["key"])
            number += 1
        except (OSError, ValueError, http.client.HTTPException):
            time.sleep(0.05)


@pytest.mark.slow
def test_none_is_lost_and_none_twice_when_the_server_is_killed(tmp_path):
    items, people = 12, [f"p{k:02}" for k in range(20)]
    path = tmp_path / "l.sqlite"
    filled(path, items, *people)
    where, accepted, errors = [""], set(), []
    with served(path, len(people)) as (process, address):
        where[0] = address
        threads = [
            threading.Thread(target=annotate, args=(lambda: where[0], who, accepted, errors))
            for who in people
        ]
        for thread in threads:
            thread.start()
        while len(accepted) < items * len(people) // 3:
            time.sleep(0.01)
        process.kill()
        process.wait()
        with served(path, len(people)) as (_, again):
            where[0] = again
            for thread in threads:
                thread.join(120)
    assert errors == []
    with FeedbackStore(path) as store:
        opinions = store.opinions()
    assert len(opinions) == items * len(people)
    assert len({(o.who, o.item) for o in opinions}) == len(opinions)
    # What was stored and not yet told when the server died is there too, once.
    told = {f"token-{key[:3]}"[:8] + f"-{key}" for key in accepted}
    assert told <= {o.key for o in opinions}
    assert len(told) > items * len(people) // 2
