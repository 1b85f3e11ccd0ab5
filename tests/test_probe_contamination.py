"""Contamination: what is planted is found, and what is not there is not."""

from __future__ import annotations

import random

import pytest

from luthier.probe.contamination import LEAST_RECITED, measure_contamination
from luthier.probe.contamination_tests import (
    COMPLETION_TEST,
    ORDER_TEST,
    OTHERS_TEST,
    ContaminationTest,
    against_others,
    holm,
    order_of_rows,
    row_text,
)
from luthier.probe.probe_request import ProbeLimits, ProbeRequest
from luthier.records import Example
from luthier.task.task import Task
from tests.remembering import remembering

WORDS = [f"word{n}" for n in range(300)]


def rows(count: int, seed: int) -> list[Example]:
    draw = random.Random(seed)
    return [
        Example(f"{seed}-{n}", " ".join(draw.choice(WORDS) for _ in range(16)), draw.choice("ab"))
        for n in range(count)
    ]


TEST, TRAIN, DEV = rows(40, 1), rows(80, 2), rows(20, 3)


def task(test=TEST, train=TRAIN) -> Task:
    return Task.from_examples(
        {"train": train, "dev": DEV, "test": test}, name="letters", instruction="Say a or b."
    )


def measured(model, **options):
    options = {"task": task(), **options}
    return measure_contamination(model, ProbeRequest(**options))


def test_a_base_that_has_read_the_test_rows_is_found():
    found = measured(remembering([row_text(row) for row in TEST]))
    assert found.verdict == "found"
    assert {test.name for test in found.tests if test.found} >= {OTHERS_TEST, COMPLETION_TEST}
    assert len(found.recited) > 30
    assert "too good" in found.sentences()[0]


def test_a_base_that_has_read_the_whole_file_is_found_by_what_it_recites():
    both = [row_text(row) for row in (*TEST, *TRAIN, *DEV)]
    found = measured(remembering(both))
    assert found.verdict == "found"
    assert not next(t for t in found.tests if t.name == OTHERS_TEST).found
    assert len(found.recited) >= LEAST_RECITED


def test_a_base_that_has_read_other_rows_is_not():
    for seed in range(5):
        found = measured(remembering([row_text(row) for row in rows(60, 50 + seed)]), seed=seed)
        assert found.verdict == "no sign", found.tests
        assert found.recited == ()


def test_the_order_of_the_file_is_remembered():
    file = "\n".join(row_text(row) for row in TEST)
    model = remembering([file])
    test = order_of_rows(
        TEST,
        lambda texts: [
            sum(v or 0.0 for v in model.backend.text_logprobs([t], model.adaptation)[0].logprobs)
            for t in texts
        ],
        rows_a_stretch=4,
        seed=0,
    )
    assert test.p_value < 0.01


def test_rows_sorted_by_label_have_no_order_to_test():
    ordered = sorted(TEST, key=lambda row: row.target)
    test = order_of_rows(ordered, lambda texts: [0.0] * len(texts), rows_a_stretch=4, seed=0)
    assert test.p_value is None
    assert "order is told by the text" in test.lacks


def test_splits_that_differ_by_themselves_are_not_compared():
    long = [Example(f"l{n}", row.text + " and more of it", row.target)
            for n, row in enumerate(rows(40, 9))]  # fmt: skip
    found = measured(remembering([]), task=task(test=long))
    other = next(test for test in found.tests if test.name == OTHERS_TEST)
    assert other.p_value is None
    assert "differ in length or words" in other.lacks


def test_false_alarms_of_one_test_are_as_rare_as_its_level():
    draw, alarms = random.Random(0), 0
    for seed in range(200):
        values = [draw.gauss(0, 1) for _ in range(60)]
        alarms += against_others(rows(20, 1), rows(40, 2), values, seed=seed).p_value < 0.05
    assert alarms <= 20  # 5 % expected; more than 10 % has a chance of 0.0016


def test_groups_are_dealt_out_whole():
    test = [Example(f"t{n}", f"word{n}", "a", group=f"g{n % 4}") for n in range(20)]
    others = [Example(f"o{n}", f"word{n}", "a", group=f"h{n % 4}") for n in range(20)]
    found = against_others(test, others, [1.0] * 20 + [0.0] * 20, seed=0)
    assert found.p_value > 0.005  # four groups a side: 1 of 70 ways, not 1 of 10¹¹


def test_holm_stops_at_the_first_that_does_not_reject():
    tests = [ContaminationTest(name, "", p) for name, p in
             (("a", 0.004), ("b", 0.03), ("c", None), ("d", 0.02))]  # fmt: skip
    assert [test.found for test in holm(tests, 0.05)] == [True, True, False, True]
    assert [test.found for test in holm(tests, 0.02)] == [True, False, False, False]


def test_a_server_without_log_probabilities_can_still_be_asked_to_finish_rows():
    found = measured(remembering([row_text(row) for row in TEST], logprobs=False))
    assert [test.name for test in found.tests if test.lacks] == [OTHERS_TEST, ORDER_TEST]
    assert found.verdict == "found"


def test_what_cannot_be_measured_is_said():
    locked = measured(remembering([]), task=task().without_test())
    assert locked.lacks == "task 'letters' has no test split"
    assert measure_contamination(remembering([]), ProbeRequest()).lacks == "no task is given"
    few = measured(remembering([]), task=task(test=[Example("x", "yes", "a")]))
    assert few.verdict in ("no sign", "cannot tell")
    assert all(test.lacks for test in few.tests)
    assert few.verdict == "cannot tell"


def test_the_rows_that_stand_in_a_corpus_are_counted(tmp_path):
    pytest.importorskip("pydivsufsort")
    (tmp_path / "c.txt").write_text("\n".join(row.text for row in TEST[:7]) + "\nother words")
    found = measured(remembering([]), corpus=(str(tmp_path),))
    assert (found.in_corpus, found.corpus_rows) == (7, 40)
    assert any("7 of 40 test rows stand in the corpus" in s for s in found.sentences())


def test_the_sample_is_a_stretch_of_the_rows():
    found = measured(remembering([]), limits=ProbeLimits(examples=15))
    assert (found.rows, found.rows_of) == (15, 40)


@pytest.mark.slow
def test_a_network_trained_on_the_test_set_is_found():
    from benchmarks.contamination import of_one_base

    (row,) = of_one_base(0, [0])
    assert row["cases"]["test set, 16 passes"]["verdict"] == "found"
    assert row["cases"]["clean: none of its rows"]["verdict"] == "no sign"
