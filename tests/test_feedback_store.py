"""Items and opinions: what is accepted stays, once; what says nothing is refused."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from luthier.errors import FeedbackError
from luthier.ledger.feedback_store import FeedbackStore
from luthier.ledger.opinions import Invite, Opinion, TunedModel, make_item

ITEM = make_item("Where is my parcel?", ["On its way.", "No idea."], held_out=False)
FIRST, SECOND = (a.id for a in ITEM.answers)
VOTE = Opinion(
    "k", ITEM.id, "preference", "ada", answer=FIRST, other=SECOND, grade="better",
    shown=(SECOND, FIRST), unsafe=(SECOND,), seconds=3.5,
)  # fmt: skip


@pytest.fixture
def store(tmp_path):
    with FeedbackStore(tmp_path / "ledger.sqlite") as opened:
        opened.add_items([ITEM])
        yield opened


def test_an_opinion_comes_back_as_it_was_said(store):
    assert store.add_opinion(VOTE) == "stored"
    (found,) = store.opinions()
    assert replace(found, time="") == VOTE
    assert found.time > "2026"


def test_one_person_has_one_opinion_of_an_item(store):
    assert store.add_opinion(VOTE) == "stored"
    assert store.add_opinion(VOTE) == "already"  # sent twice
    other_tab = replace(VOTE, key="k2", answer=SECOND, other=FIRST)
    assert store.add_opinion(other_tab) == "already"
    assert [o.answer for o in store.opinions()] == [FIRST]
    assert store.add_opinion(replace(other_tab, who="bo")) == "stored"


def test_what_is_undone_counts_no_more_and_may_be_said_again(store):
    store.add_opinion(VOTE)
    assert not store.withdraw_opinion("k", who="bo")  # not theirs
    assert store.withdraw_opinion("k", who="ada")
    assert not store.withdraw_opinion("k", who="ada")
    assert store.opinions() == []
    assert store.add_opinion(replace(VOTE, key="k2", answer=SECOND, other=FIRST)) == "stored"


def test_opinions_on_items_that_are_gone_are_refused(store):
    store.add_opinion(VOTE)
    store.withdraw_item(ITEM.id)
    assert store.items() == []
    assert store.opinions() == []
    with pytest.raises(FeedbackError, match="is gone"):
        store.add_opinion(replace(VOTE, key="k2", who="bo"))
    with pytest.raises(FeedbackError, match="'none' is gone"):
        store.add_opinion(replace(VOTE, key="k3", item="none"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"answer": "x"}, "no answer 'x'"),
        ({"other": None}, "names two answers"),
        ({"grade": "much"}, "the grade 'much'"),
        ({"kind": "shout"}, "the kind 'shout'"),
        ({"source": "oracle"}, "the source 'oracle'"),
        ({"who": " "}, "names nobody"),
        ({"kind": "rating", "value": 6.0}, "the value 6.0"),
        ({"kind": "rating", "value": float("nan")}, "the value nan"),
        ({"kind": "thumb", "value": 0.5}, "the value 0.5"),
        ({"kind": "skip", "text": ""}, "has no text"),
        ({"kind": "edit", "text": None}, "has no text"),
        ({"text": "x" * 5_000_000}, "5,000,000 characters"),
    ],
)
def test_what_says_nothing_is_refused(store, change, words):
    with pytest.raises(FeedbackError, match=words):
        store.add_opinion(replace(VOTE, **change))
    assert store.opinions() == []


def test_an_item_is_its_content_in_any_order():
    turned = make_item("Where is my parcel?", ["No idea.", "On its way."], held_out=True)
    assert turned.id == ITEM.id
    assert {a.id for a in turned.answers} == {FIRST, SECOND}
    halves = [make_item(f"prompt {i}", ["a", "b"]).held_out for i in range(400)]
    assert 60 < sum(halves) < 140
    for answers, words in (
        ([], "no answer"), (["a", "a"], "the same text"), (["x" * 5_000_000, "y"], "5,000,000"),
    ):  # fmt: skip
        with pytest.raises(FeedbackError, match=words):
            make_item("q", answers)
    with pytest.raises(FeedbackError, match="no prompt"):
        make_item("  ", ["a"])


def test_a_long_answer_with_markup_is_kept_to_the_letter(store):
    answer = "<script>alert(1)</script>" + "é" * 1_000_000
    item = make_item("q", [answer, "short"])
    assert store.add_items([item, item]) == 1
    assert store.item(item.id).answers[0].text == answer


def test_invites_end(store):
    store.add_invite(Invite("t1", "ada", expires="2999-01-01T00:00:00.000+00:00"))
    store.add_invite(Invite("t2", "bo", expires="2020-01-01T00:00:00.000+00:00"))
    assert store.invite("t1").who == "ada"
    with pytest.raises(FeedbackError, match="ended on 2020-01-01 00:00 UTC"):
        store.invite("t2")
    with pytest.raises(FeedbackError, match="no such invite"):
        store.invite("t3")


def test_models_keep_their_parents(store):
    store.add_model(TunedModel("a", "V0", "x", "import"))
    store.add_model(TunedModel("b", "V1", "y", "dpo", parent="a", record={"win_rate": 0.9}))
    assert [(m.name, m.parent, dict(m.record)) for m in store.models()] == [
        ("V0", None, {}), ("V1", "a", {"win_rate": 0.9}),
    ]  # fmt: skip


def test_threads_share_one_store(store):
    def annotate(who):
        for item in items:
            first, second = (a.id for a in item.answers)
            said = replace(
                VOTE, key=f"{who} {item.id}", item=item.id, who=who, answer=first, other=second,
                shown=(), unsafe=(),
            )  # fmt: skip
            assert store.add_opinion(said) == "stored"

    items = [make_item(f"q{i}", ["a", "b"]) for i in range(10)]
    store.add_items(items)
    threads = [threading.Thread(target=annotate, args=(f"p{k}",)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.opinions()) == 80


def test_an_accepted_vote_survives_kill_9(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with FeedbackStore(path) as store:
        store.add_items([make_item(f"q{i}", ["a", "b"]) for i in range(20)])
    script = Path(__file__).with_name("feedback_kill.py")
    process = subprocess.Popen(
        [sys.executable, str(script), str(path)], stdout=subprocess.PIPE, text=True
    )
    accepted = [process.stdout.readline().strip() for _ in range(100)]
    process.send_signal(signal.SIGKILL)
    accepted += process.stdout.read().split()
    process.wait()
    process.stdout.close()
    with FeedbackStore(path) as store:
        keys = [o.key for o in store.opinions()]
    assert len(keys) == len(set(keys))
    assert set(accepted) <= set(keys)
    assert len(keys) <= len(accepted) + 1  # one may have been stored and not yet told
