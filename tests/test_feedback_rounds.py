"""Rounds: what opinions teach, models with parents, win rates on what was held out."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import replace

import pytest

from luthier.cli.main import run
from luthier.errors import FeedbackError, TechniqueError
from luthier.feedback.best_log import add_best, read_best
from luthier.feedback.combined_reward import CombinedReward
from luthier.feedback.measure_round import kl_between
from luthier.feedback.preference_data import pairs_only, preference_data
from luthier.feedback.reward_judge import RewardJudge
from luthier.feedback.reward_report import accuracy, reward_report
from luthier.feedback.round_rewards import RoundRewards
from luthier.feedback.rounds import lineage_lines, rounds
from luthier.feedback.train_round import RoundRequest, next_name, split_methods, train_round
from luthier.ledger.feedback_store import FeedbackStore
from luthier.ledger.opinions import ItemAnswer, Opinion, TunedModel, make_item
from luthier.models.fake import FakeBackend
from luthier.models.model import Model
from luthier.records import Example
from luthier.scoring.judges.judge import Question
from luthier.training.rejection import BestAnswer
from luthier.training.reward_training import RewardPair
from tests.test_training_preferences import margin
from tests.test_training_rewards import pairs, says_yes, share_of_yes, start

__all__ = ["start"]


def judged(store, count=100, *, grade="better", simulated=True):
    """Pairs of which the script prefers yes."""
    for e in pairs(count, seed=4):
        item = make_item(e.text, [e.target, e.rejected])
        store.add_items([item])
        better, worse = (a.id for a in item.answers)
        store.add_opinion(
            Opinion(f"k{e.id}", item.id, "preference", "script", simulated=simulated,
                    answer=better, other=worse, grade=grade)
        )  # fmt: skip


@pytest.fixture
def store(tmp_path):
    with FeedbackStore(tmp_path / "ledger.sqlite") as opened:
        yield opened


def add(store, item, **fields):
    fields = {"kind": "preference", "who": "ada", **fields}
    key = f"{fields['who']}{fields['kind']}{item.id}{fields.get('answer')}"
    assert store.add_opinion(Opinion(key, item.id, **fields)) == "stored"


def test_people_are_averaged_and_ties_and_contradictions_teach_nothing(store):
    items = [make_item(f"q{i}", ["good", "bad"], held_out=False) for i in range(24)]
    store.add_items(items)
    for i, item in enumerate(items):
        good, bad = (a.id for a in item.answers)
        add(store, item, answer=good, other=bad, grade="significantly" if i % 2 else "slightly")
        if i == 0:
            add(store, item, who="bo", answer=bad, other=good, grade="slightly")
        if i == 1:
            add(store, item, who="bo", grade="unsure")
        if i == 2:  # a judge says the contrary of a person: the person counts
            add(store, item, who="j", source="judge", answer=bad, other=good, grade="significantly")
        if i == 3:
            add(store, item, who="bo", kind="edit", answer=bad, text="best")
            add(store, item, who="bo", kind="skip", text="no")
    data = preference_data(store)
    assert data.ties == 1
    grades = {p.example.text: p.grade for p in data.pairs}
    assert "q0" not in grades
    assert grades.get("q1") in (None, "better")  # 3 and 0 make 1.5; None where it is in dev
    assert grades.get("q2", "slightly") == "slightly"
    taught = {(e.target, e.rejected) for e in (*data.task.train, *data.task.dev)}
    assert taught == {("good", "bad"), ("best", "bad")}
    assert data.task.test == ()
    groups = {e.group for e in data.task.train} & {e.group for e in data.task.dev}
    assert groups == set()
    assert not {p.example for p in data.pairs} & {p.example for p in data.dev_pairs}
    assert not data.simulated


def test_thumbs_and_ratings_teach_single_answers_and_marks_teach_safety(store):
    for i in range(40):
        item = make_item(f"q{i}", [f"a{i}"], held_out=False)
        pair = make_item(f"p{i}", ["safe", "unsafe"], held_out=False)
        store.add_items([item, pair])
        (answer,) = item.answers
        add(store, item, kind="thumb", answer=answer.id, value=float(i % 2))
        add(store, item, kind="rating", answer=answer.id, value=3.0)
        safe, unsafe = (a.id for a in pair.answers)
        add(store, pair, answer=unsafe, other=safe, grade="slightly", unsafe=(unsafe,))
    data = preference_data(store)
    singles = [e for e in (*data.task.train, *data.task.dev) if not (e.target and e.rejected)]
    assert len(singles) == 40
    assert sum(bool(e.target) for e in singles) == 20
    assert len(data.safety) == 40
    assert {p.example.target for p in data.safety} == {"safe"}
    assert len(pairs_only(data.task).train) < len(data.task.train)


def test_too_little_is_said(store):
    with pytest.raises(FeedbackError, match="0 preferences or thumbs"):
        preference_data(store)
    judged(store, 40, grade="unsure")
    with pytest.raises(FeedbackError, match=r"teach too little \(40 items are ties"):
        preference_data(store)


def test_what_is_held_out_never_trains(store):
    judged(store)
    data = preference_data(store)
    seen = {e.text for e in (*data.task.train, *data.task.dev)}
    kept = {p.example.text for p in data.held_out}
    assert 10 < len(kept) < 45
    assert seen & kept == set()
    assert len(data.task.test) == len(data.held_out)
    assert data.simulated


def test_safety_comes_first():
    examples = [Example(str(i), "q", "") for i in range(3)]
    combined = CombinedReward(
        lambda e, a: [1.0, 9.0, 2.0], lambda e, a: [0.0, -4.0, 3.0]
    )  # the second is helpful and unsafe
    helpful, unsafe, best = combined(examples, ["x", "y", "z"])
    assert unsafe < helpful < best
    assert CombinedReward(lambda e, a: [1.0] * 3)(examples, ["x"] * 3) == [1.0] * 3


def test_a_reward_is_reported_beside_lengths():
    graded = [
        RewardPair(Example(str(i), "q", "yes" * (1 + i % 3), rejected="no"), grade)
        for i, grade in enumerate(["significantly"] * 20 + ["slightly"] * 10)
    ]

    def half(examples, answers):
        return [
            float("yes" in a) * (int(e.id) < 25) for e, a in zip(examples, answers, strict=True)
        ]

    report = reward_report(half, graded, graded)
    assert report.accuracy.value == pytest.approx(25 / 30)
    assert report.by_grade["significantly"].value == 1.0
    assert report.by_grade["slightly"].value == 0.5
    assert report.length_baseline.value == 1.0
    assert 0 < report.calibration_error < 0.5
    assert accuracy([]).value is None
    assert accuracy([1, 0.5]).value == 0.75


def test_the_best_answers_of_all_rounds_are_kept(tmp_path):
    path = tmp_path / "best.jsonl"
    one = BestAnswer(Example("1", "q", "first"), 1.0, 0.0)
    assert [e.target for e in add_best(path, [one], round_name="V1")] == ["first"]
    two = BestAnswer(Example("1", "q", "second"), 2.0, 0.0)
    assert [e.target for e in add_best(path, [two, one], round_name="V2")] == ["first", "second"]
    assert len(read_best(path)) == 3
    assert json.loads(path.read_text().splitlines()[1])["round"] == "V2"


def test_win_rates_come_from_held_out_meetings(store, capsys):
    store.add_model(TunedModel("0", "V0", "x", "start"))
    store.add_model(TunedModel("1", "V1", "y", "dpo", "0", {"method": "dpo", "opinions": 5}))
    store.add_model(TunedModel("2", "V1-fork", "z", "kto", "0"))
    for i in range(30):
        item = make_item(
            f"q{i}", [ItemAnswer("", "new", "V1"), ItemAnswer("", "old", "V0")],
            held_out=i < 20,
        )  # fmt: skip
        store.add_items([item])
        new, old = (a.id for a in item.answers)
        if i == 0:
            add(store, item, grade="unsure", simulated=True)
        elif i < 4:
            add(store, item, answer=old, other=new, grade="better", simulated=True)
        else:
            add(store, item, answer=new, other=old, grade="better", simulated=True)
    first, second, fork = rounds(store)
    assert first.against_parent.value is None
    assert second.against_parent.pairs == 20  # of the others some training may have seen
    assert second.against_parent.value == pytest.approx(16.5 / 20)
    assert second.against_parent == second.against_first
    assert (second.simulated, second.judged_by) == (True, ("person",))
    assert fork.against_first.value is None
    assert lineage_lines(store.models()) == ["V0 (start)", "  V1 (dpo)", "  V1-fork (kto)"]
    assert next_name(store) == "V2"
    assert run(["feedback", "rounds", "--folder", str(store.path.parent)]) == 0
    shown = capsys.readouterr().out
    assert "simulated" in shown
    assert run(["feedback", "rounds", "--folder", str(store.path.parent), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[1]["against_first"]["pairs"] == 20


def test_methods_are_checked_before_anything_loads(store, capsys):
    assert split_methods("rejection, dpo(beta=0.2),kto") == ["rejection", "dpo(beta=0.2)", "kto"]
    for text, words in (("lora", "no method 'lora'"), ("", "No method")):
        with pytest.raises(FeedbackError, match=words):
            split_methods(text)
    with pytest.raises(TechniqueError, match="no technique 'dop'"):
        split_methods("dop")
    with pytest.raises(FeedbackError, match="no round yet"):
        rounds(store)
    command = ["feedback", "train", "--method", "dpo", "--folder", str(store.path.parent)]
    assert run([*command, "--from", "V7"]) == 2


def test_a_reward_model_is_trained_once_for_all_methods(store, monkeypatch, tmp_path):
    trained = []

    class Reward:
        @contextmanager
        def opened(self):
            yield lambda examples, answers: [float("yes" in a) for a in answers]

        def save(self, folder):
            folder.mkdir(parents=True)

    def train(model, given, settings, *, seed):
        trained.append((len(given), seed))
        return Reward(), 7

    monkeypatch.setattr("luthier.feedback.round_rewards.train_reward", train)
    judged(store, 160)
    data = preference_data(store)
    rewards = RoundRewards(Model(FakeBackend()), data, 1000, seed=3)
    with rewards.opened(watched=False) as first:
        assert first.watches is first.helpful
    for _ in range(2):
        with rewards.opened(watched=True) as live:
            assert live.watches is not live.helpful
            assert live.trains(data.task.train[:2], ["yes", "no"]) == [1.0, 0.0]
    assert trained == [(len(data.pairs), 3), (len(data.dev_pairs), 4)]
    assert rewards.reports["reward"]["accuracy"]["value"] == 1.0
    assert rewards.reports["reward"]["spent_tokens"] == 7
    rewards.save(tmp_path / "V1")
    assert [p.name for p in (tmp_path / "V1").iterdir()] == ["reward"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "gain"),
    [
        ("dpo(learning_rates=(0.0003,), gates=False)", None),
        ("kto(learning_rates=(0.001,), gates=False)", 0.05),
        ("rejection(learning_rates=(0.003,), samples=12)", 0.2),
        ("ppo(learning_rate=0.003, beta=0.02)", 0.15),
    ],
)
def test_a_round_learns_the_preference_and_knows_its_parent(store, start, method, gain):
    judged(store, 120)
    folder = store.path.parent
    asked = RoundRequest(method, 150_000, reward_tokens=60_000, seed=0)
    found = train_round(store, folder, asked, model=start, model_name="the start")
    assert [m.name for m in store.models()] == ["V0", "V1"]
    assert found.parent == store.models()[0].id
    record = found.record
    assert record["opinions"] == 120
    assert record["simulated"]
    assert record["sources"] == {"person": 120}
    if "reward" in record:
        assert record["reward"]["accuracy"]["value"] > 0.8
        assert record["drift"] is not None
    from luthier.models.storage import open_adaptation

    adaptation = open_adaptation(folder / "models" / "V1")[0]
    tuned = start.adapt(adapter=adaptation.adapter, weights=adaptation.weights)
    if gain is None:  # so small a base gives better answers more room, and still not often
        task = preference_data(store).task
        assert margin(tuned, task) > margin(start, task) + 1.0
    else:
        assert share_of_yes(tuned) > share_of_yes(start) + gain
    assert kl_between(tuned, start, pairs(10, seed=8)) > 0.0
    assert abs(kl_between(start, start, pairs(4, seed=8))) < 1e-3
    with pytest.raises(FeedbackError, match="no model 'V9'"):
        train_round(store, folder, replace(asked, parent="V9"), model=start, model_name="the start")
    assert says_yes([], []) == []


def test_a_reward_model_judges_as_others_do():
    def by_yes(examples, answers):
        return [3.0 * ("yes" in a) + len(a) / 100 for a in answers]

    judge = RewardJudge(by_yes, name="reward of V1")
    asked = Question("q")
    found = judge.compare([(asked, "yes", "no"), (asked, "no", "yes"), (asked, "no", "na")])
    assert [(f.first, f.grade) for f in found] == [
        (True, "significantly"), (False, "significantly"), (None, "unsure"),
    ]  # fmt: skip
    assert judge.rate([(asked, "yes")])[0] > 0.9
