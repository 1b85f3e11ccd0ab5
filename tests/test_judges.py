"""Judges: both orders, ties, nonsense, and how often they agree with people."""

from __future__ import annotations

import json

import pytest

import luthier
from luthier.cli.main import run
from luthier.errors import FeedbackError, TaskError
from luthier.feedback.judge_items import judge_items
from luthier.ledger.feedback_store import FeedbackStore
from luthier.ledger.opinions import Opinion, make_item
from luthier.models.fake import FakeBackend
from luthier.models.model import Model
from luthier.records import Capability
from luthier.scoring.judges.judge import Question, ScriptedJudge
from luthier.scoring.judges.judge_agreement import judge_agreement
from luthier.scoring.judges.rubric_judge import RubricJudge, joined, short
from luthier.scoring.resolve import resolve_scorer
from luthier.task.judge_spec import judge_source, read_judge

ASKED = Question("Where is it?")


def model(reply):
    """A model without log-probabilities, so that it answers in words."""
    answers = reply if callable(reply) else lambda prompt: reply
    return Model(FakeBackend(reply=answers, capabilities=frozenset({Capability.TEXT})))


def likes(word):
    """A judge's model that prefers the answer with a word, wherever it stands."""

    def reply(prompt):
        text = prompt.rpartition("To judge:")[2]
        first, _, second = text.partition("Answer B:")
        in_first, in_second = word in first, word in second
        return "tie" if in_first == in_second else "A" if in_first else "B"

    return model(reply)


@pytest.mark.parametrize(
    ("there", "back", "first", "grade"),
    [
        ("A", "B", True, "better"),
        ("B", "A", False, "better"),
        ("A", "A", None, "unsure"),  # it prefers what stands first
        ("tie", "B", True, "slightly"),
        ("A", "tie", True, "slightly"),
        ("tie", "tie", None, "unsure"),
        (None, "B", True, "slightly"),
        (None, None, None, "unsure"),
    ],
)
def test_two_orders_become_one_opinion(there, back, first, grade):
    found = joined(there, back)
    assert (found.first, found.grade) == (first, grade)
    assert found.read == sum(v is not None for v in (there, back)) / 2


def test_a_rubric_judge_asks_in_both_orders():
    good = RubricJudge(likes("sorry"), "Be polite.", name="j")
    pairs = [(ASKED, "sorry, no", "no"), (ASKED, "no", "sorry"), (ASKED, "no", "never")]
    assert [p.first for p in good.compare(pairs)] == [True, False, None]
    first = RubricJudge(model("A"), "Be polite.", name="j")
    assert [p.first for p in first.compare(pairs)] == [None] * 3
    rates = RubricJudge(model("4"), "Be polite.", name="j")
    assert rates.rate([(ASKED, "x")]) == [0.75]
    assert RubricJudge(model("perhaps"), "Be polite.", name="j").rate([(ASKED, "x")]) == [None]
    assert len(short("x" * 1_000_000)) < 21_000


def test_a_local_model_judges_by_its_probabilities():
    judge = RubricJudge(luthier.load("nano"), "Be polite.", name="nano")
    (found,) = judge.compare([(ASKED, "Sorry, I will look.", "No.")])
    assert found.read == 1.0
    assert judge.rate([(ASKED, "Sorry.")])[0] in (0.0, 0.25, 0.5, 0.75, 1.0)


def test_a_script_grades_by_the_gap():
    judge = ScriptedJudge(lambda question, answer: len(answer) / 10, name="length")
    pairs = [(ASKED, "12345678", "1"), (ASKED, "1", "1234"), (ASKED, "12", "1"), (ASKED, "1", "2")]
    assert [(p.first, p.grade) for p in judge.compare(pairs)] == [
        (True, "significantly"), (False, "better"), (True, "slightly"), (None, "unsure"),
    ]  # fmt: skip
    for broken, words in (
        (lambda q, a: 1 / 0, "ZeroDivisionError"), (lambda q, a: float("nan"), "returned nan"),
    ):  # fmt: skip
        with pytest.raises(TaskError, match=words):
            ScriptedJudge(broken, name="x").compare(pairs[:1])


@pytest.fixture
def folder(tmp_path):
    """30 pairs, of which people prefer the polite answer; two of them by accident not."""
    with FeedbackStore(tmp_path / "ledger.sqlite") as store:
        for i in range(30):
            item = make_item(f"q{i}", [f"sorry {i}", f"no {i}"])
            store.add_items([item])
            polite, rude = (a.id for a in item.answers)
            better, worse = (rude, polite) if i < 2 else (polite, rude)
            store.add_opinion(
                Opinion(f"a{i}", item.id, "preference", "ada", answer=better, other=worse,
                        grade="better")
            )  # fmt: skip
    return tmp_path


def test_agreement_with_people_is_measured_or_said_to_be_unknown(folder, tmp_path):
    judge = RubricJudge(likes("sorry"), "Be polite.", name="polite")
    known = judge_agreement(judge, folder)
    assert known.agreement.items == 30
    assert known.agreement.value == pytest.approx(28 / 30)
    assert "agrees with people on 0.93" in known.sentence
    unknown = judge_agreement(judge, tmp_path / "none")
    assert "is not known: no decision should rest on them alone" in unknown.sentence


def test_a_judges_opinions_stand_beside_those_of_people(folder):
    with FeedbackStore(folder / "ledger.sqlite") as store:
        judge = RubricJudge(likes("sorry"), "Be polite.", name="polite")
        report = judge_items(store, judge)
        assert (report.new, report.ties, report.read) == (30, 0, 1.0)
        assert judge_items(store, judge).known == 30
        said = [o for o in store.opinions() if o.who == "polite"]
        assert {o.source for o in said} == {"judge"}
        nonsense = RubricJudge(model("I would rather not say"), "x", name="nonsense")
        with pytest.raises(FeedbackError, match="answers nonsense"):
            judge_items(store, nonsense)
        assert not [o for o in store.opinions() if o.who == "nonsense"]


def test_rubrics_are_read_with_their_head(tmp_path):
    rubric = tmp_path / "rubric.md"
    rubric.write_text("---\nmodel: nano\npeople: feedback\n---\nBe polite.\n")
    spec = read_judge(str(rubric))
    assert (spec.text, spec.model) == ("Be polite.", "nano")
    assert spec.people == str(tmp_path / "feedback")
    assert judge_source("judge(rubric.md)") == "rubric.md"
    assert judge_source("rouge-l") is None
    other = tmp_path / "other.md"
    other.write_text("---\nmodel: nano\n---\nBe brief.\n")
    assert read_judge(str(other)).identity != spec.identity
    for text, words in (
        ("", "is empty"), ("---\nmodle: x\n---\ny", "head of the rubric"), ("---\nx", "head of"),
    ):  # fmt: skip
        other.write_text(text)
        with pytest.raises(TaskError, match=words):
            read_judge(str(other))
    with pytest.raises(TaskError, match="cannot be read"):
        resolve_scorer("judge(none.md)")
    other.write_text("Be brief.")
    scorer = resolve_scorer(f"judge({other})")
    with pytest.raises(TaskError, match="it names no model"):
        scorer.of("an answer", "a target", question="q")


def test_compare_shows_the_judges_agreement_beside_the_scores(
    tmp_path, folder, capsys, monkeypatch
):
    """A summaries task, judged by a fake model."""
    rows = [
        {"text": f"They met at {i} and decided to wait. Nobody objected.", "summary": f"Sorry {i}."}
        for i in range(60)
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    rubric = tmp_path / "rubric.md"
    rubric.write_text(f"---\nmodel: fake-judge\npeople: {folder}\n---\nBe polite.\n")
    task = tmp_path / "summaries.yaml"
    task.write_text(
        "instruction: Sum up.\ndata: rows.jsonl\ninput: text\ntarget: summary\nkind: generate\n"
        "scorer: judge(rubric.md)\nmax_new_tokens: 8\n"
    )
    monkeypatch.setattr("luthier.scoring.judges.open_judge.load", lambda name: likes("orry"))
    out = tmp_path / "run"
    command = [
        "compare", str(task), "--model", "fake", "--techniques", "zero-shot,few-shot",
        "--budget", "20ktok", "--seeds", "1", "--out", str(out),
    ]  # fmt: skip
    assert run([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "agrees with people on 0.93" in json.dumps(found, ensure_ascii=False)
    assert "agrees with people on 0.93" in found["verdict"]["because"]
    assert run(["report", str(out)]) == 0
    assert "agrees with people on 0.93" in (out / "report.html").read_text("utf-8")


def test_the_command_judges_and_says_how_often_it_agrees(folder, tmp_path, capsys):
    script = tmp_path / "taste.py"
    script.write_text("def taste(question, answer):\n    return 'sorry' in answer\n")
    command = ["feedback", "judge", "--folder", str(folder)]
    assert run([*command, "--script", f"{script}:taste", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["new"] == 30
    assert said["agreement"]["agreement"]["value"] == pytest.approx(28 / 30)
    assert run(command) == 2
    assert "Say who judges" in capsys.readouterr().err
    assert run([*command, "--rubric", str(script), "--simulated"]) == 2
    assert run([*command, "--script", f"{script}:taste", "--simulated"]) == 0
    with FeedbackStore(folder / "ledger.sqlite") as store:
        kinds = {(o.source, o.simulated) for o in store.opinions()}
    assert kinds == {("person", False), ("script", False)}  # it had judged them all already
