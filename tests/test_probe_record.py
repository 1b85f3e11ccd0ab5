"""The record of the advice: outcomes from verdicts, hit rates, and what cannot be judged."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from luthier.cli.main import run
from luthier.compare.comparison import TechniqueResult
from luthier.compare.judge_advice import judge_advice
from luthier.compare.verdict_record import Verdict
from luthier.errors import UserError
from luthier.ledger.run_ledger import LEDGER_FILE, Ledger, StoredComparison
from luthier.probe.advice_record import AdviceOutcome, HitRate, TriedTechnique, advice_record
from luthier.probe.probe_advice import Advice, AdvisedTechnique
from luthier.records import Score
from luthier.serialization import dumps


def result(name, value=0.5, **keys):
    score = Score("accuracy", value, 0.4, 0.6)
    status = keys.pop("status", "finished")
    return TechniqueResult(name, name, "prompt", False, status, score, score, **keys)


def advice(*names):
    return Advice(ranking=tuple(AdvisedTechnique(n, "so", 0.5) for n in names))


RESULTS = [result("zero-shot", 0.2), result("few-shot", 0.6), result("lora(rank=4)", 0.62)]
VERDICT = Verdict("few-shot", "it is", tied_with=("lora(rank=4)",), best="lora(rank=4)")


def judged(first, verdict=VERDICT, results=RESULTS):
    return judge_advice(advice(first, "other"), verdict, results, task="t", base="b")


def test_the_best_the_pick_and_the_tied_are_hits():
    assert judged("few-shot").hit is True
    assert judged("lora(rank=4)").hit is True
    assert judged("zero-shot").hit is False
    alone = Verdict("few-shot", "it is", best="few-shot")
    assert judged("lora(rank=4)", alone).hit is False


def test_the_pick_is_a_hit_where_a_test_tells_it_from_the_best():
    near = Verdict("few-shot", "cheap and near", tied_with=("lora(rank=4)",), best="lora(rank=4)")
    assert judged("few-shot", near).hit is True


def test_what_was_not_tried_is_neither_hit_nor_miss():
    failed = [*RESULTS[:2], result("lora", None, status="failed")]
    outcome = judged("lora", Verdict("few-shot", "", best="few-shot"), failed)
    assert outcome.hit is None
    assert "lora was not tried" in outcome.reason
    undertrained = [*RESULTS[:2], result("lora", 0.9, epochs=1.0)]
    assert judged("lora", Verdict("few-shot", "", best="few-shot"), undertrained).hit is None


def test_without_a_pick_there_is_nothing_to_be_right_about():
    outcome = judged("few-shot", Verdict(None, "no better than the commonest", best="few-shot"))
    assert outcome.hit is None
    assert "no pick" in outcome.sentence()


def test_an_unfinished_comparison_has_no_outcome_yet():
    assert judged("few-shot", results=[*RESULTS, result("full", None, status="stopped")]) is None
    assert judge_advice(None, VERDICT, RESULTS, task="t", base="b") is None
    assert judge_advice(Advice(lacks="no dev"), VERDICT, RESULTS, task="t", base="b") is None


def test_several_bases_are_told_apart():
    results = [
        result("lora on a", 0.4, base="a"), result("lora on b", 0.8, base="b"),
        result("few-shot on b", 0.3, base="b"),
    ]  # fmt: skip
    verdict = Verdict("lora on b", "", best="lora on b")
    outcome = judged("lora on b", verdict, results)
    assert [t.plain for t in outcome.tried] == ["lora", "lora", "few-shot"]
    assert outcome.hit is True
    assert judged("lora on a", verdict, results).hit is False


def test_the_outcome_is_said_in_words():
    assert "it is among the 2 of 3" in judged("few-shot").sentence()
    assert "it is not among the 2 of 3" in judged("zero-shot").sentence()
    alone = judged("few-shot", Verdict("few-shot", "", best="few-shot"))
    assert "it is the best of 3" in alone.sentence()


def outcome(first, best, tried=("zero-shot", "few-shot", "lora"), **keys):
    names = tuple(TriedTechnique(t, t, t in best) for t in tried)
    return AdviceOutcome("t", "b", first, first in best, names, **keys)


def write(folder, *outcomes):
    """A ledger in each of as many run folders."""
    for i, one in enumerate(outcomes):
        with Ledger(folder / f"run{i}" / LEDGER_FILE) as ledger:
            stored = StoredComparison(f"c{i}", "2026", "2026", None, *("{}",) * 5)
            ledger.start_comparison(stored)
            ledger.keep_advice_outcome(stored.id, dumps(one))
    return folder


def rates(record):
    return {rate.name: (rate.hits, rate.comparisons) for rate in record.rates}


def test_planted_outcomes_give_their_hit_rates(tmp_path):
    made = [
        outcome("lora", {"lora"}),
        outcome("lora", {"lora", "few-shot"}),
        outcome("few-shot", {"lora"}),
        outcome("few-shot", {"few-shot"}, tried=("zero-shot", "few-shot")),
        replace(outcome("lora", set()), hit=None, reason="the comparison has no pick"),
    ]
    record = advice_record(write(tmp_path, *made))
    assert rates(record) == {
        "the advice": (3, 4), "always lora": (3, 3), "always few-shot": (2, 4),
        "drawn at random": (pytest.approx(1 / 3 + 2 / 3 + 1 / 3 + 1 / 2, abs=0.01), 4),
    }  # fmt: skip
    low, high = record.rates[0].interval
    assert low < 0.75 < high
    said = "\n".join(record.sentences())
    assert "the advice: 3 of 4, 75 % (30–95)" in said
    assert "always lora: 3 of 3" in said
    assert "Not counted: t on b: the comparison has no pick." in said
    plain = json.loads(json.dumps(record.to_json()))
    assert plain["rates"][0]["rate"] == 0.75
    assert plain["outcomes"][1]["among_best"] == ["few-shot", "lora"]


def test_one_rule_can_be_counted_by_itself(tmp_path):
    write(tmp_path, outcome("lora", {"lora"}, rule="1"), outcome("lora", {"few-shot"}, rule="2"))
    record = advice_record(tmp_path, wanted=lambda o: o.rule == "1")
    assert rates(record)["the advice"] == (1, 1)


def test_a_second_verdict_takes_the_place_of_the_first(tmp_path):
    with Ledger(tmp_path / LEDGER_FILE) as ledger:
        ledger.start_comparison(StoredComparison("c", "2026", "2026", None, *("{}",) * 5))
        ledger.keep_advice_outcome("c", dumps(outcome("lora", {"few-shot"})))
        ledger.keep_advice_outcome("c", dumps(outcome("lora", {"lora"})))
    assert rates(advice_record(tmp_path))["the advice"] == (1, 1)


def test_nothing_yet_is_said_and_a_wrong_folder_refused(tmp_path):
    assert "luthier compare TASK --advise" in advice_record(tmp_path).sentences()[0]
    with pytest.raises(UserError, match="no folder of runs"):
        advice_record(tmp_path / "nowhere")
    assert HitRate("the advice", 0, 0).words() == "the advice: nothing yet"


def test_a_ledger_that_cannot_be_read_is_named_and_the_others_count(tmp_path):
    write(tmp_path, outcome("lora", {"lora"}))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / LEDGER_FILE).write_bytes(b"no database" * 50)
    record = advice_record(tmp_path)
    assert rates(record)["the advice"] == (1, 1)
    assert len(record.unread) == 1
    assert "Not read" in record.sentences()[-1]


def test_the_command_prints_the_record(tmp_path, capsys):
    write(tmp_path, outcome("lora", {"lora"}))
    assert run(["probe", "--record", "--runs", str(tmp_path)]) == 0
    assert "the advice: 1 of 1" in capsys.readouterr().out
    assert run(["probe", "--record", "--runs", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rates"][1]["name"] == "always lora"
    assert run(["probe", "--record", "--runs", str(tmp_path / "nowhere")]) == 2
