"""The benchmarks without their peers: names, ratios, floors, records."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.__main__ import JOBS, OTHERS, RESULTS, write
from benchmarks.cases import Classification, nano
from benchmarks.fitting import steps_by_trial
from benchmarks.machine import surroundings
from benchmarks.measure import Equality, Ratio, Share, Side, in_turn
from benchmarks.operations import (
    after_inputs,
    inputs_once,
    scoring_operations,
    tuned_after,
    whole_rows,
)
from benchmarks.table import show

from luthier.records import FitStep
from luthier.training.rows import TrainRow

ROOT = Path(__file__).parent.parent


def ratio(ours: tuple[float, ...], theirs: tuple[float, ...], gap: float = 0.0) -> Ratio:
    return Ratio(
        job="a job", peer_name="a peer", unit="input", must_be=4.0,
        ours=Side(ours, units=100), peer=Side(theirs, units=10),
        equality=Equality("scores", gap, tolerance=0.1),
    )  # fmt: skip


def test_every_job_is_a_function_that_exists():
    for names, package in ((JOBS, "benchmarks/jobs"), (OTHERS, "benchmarks")):
        for where in names.values():
            module, function = where.split(":")
            tree = ast.parse((ROOT / package / f"{module}.py").read_text("utf-8"))
            assert function in {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}


def test_an_unknown_job_names_the_choices():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "few-shots"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "few-shots" in done.stderr
    assert all(name in done.stderr for name in JOBS)


def test_a_ratio_is_of_seconds_a_unit_and_the_median_over_rounds():
    line = ratio((10.0, 10.0, 20.0), (5.0, 6.0, 5.0))
    assert line.ratios == pytest.approx([5.0, 6.0, 2.5])
    assert line.value == pytest.approx(5.0)
    assert line.verdict == "met"


@pytest.mark.parametrize("gap", [0.2, float("nan")])
def test_a_fast_side_with_other_results_has_missed(gap: float):
    assert ratio((1.0,), (9.0,), gap).verdict == "missed"


def test_a_slope_is_met_from_below():
    assert Share("growth", "slope", 0.05, 0.1, at_most=True).verdict == "met"
    assert Share("growth", "slope", 0.2, 0.1, at_most=True).verdict == "missed"
    assert Share("peak", "share of peak", 0.2, 0.6).verdict == "missed"
    assert Share("growth over operations", "slope", 0.2, None).verdict is None


def test_both_sides_get_every_round_and_take_turns_at_going_first():
    order: list[tuple[str, int]] = []
    mine, theirs = in_turn(
        lambda k: order.append(("ours", k)), lambda k: order.append(("peer", k)), rounds=3
    )
    assert order == [("ours", 0), ("peer", 0), ("peer", 1), ("ours", 1), ("ours", 2), ("peer", 2)]
    assert len(mine) == len(theirs) == 3
    assert all(seconds >= 0 for seconds, _ in mine + theirs)


def test_texts_have_the_stated_numbers_of_tokens():
    case = Classification(shared=50, inputs=3, input_tokens=12, labels=4, label_tokens=3)
    tokenizer = nano().tokenizer
    requests = case.requests(tokenizer, seed=1)
    rows = [tokenizer(r.prompt.text).input_ids for r in requests]
    assert [len(r) for r in rows] == [62] * 3
    assert len({tuple(r[:50]) for r in rows}) == 1
    for label in requests[0].continuations:
        joined = tokenizer(requests[0].prompt.text + label).input_ids
        assert joined[:62] == rows[0]
        assert len(joined) == 65
    assert case.requests(tokenizer, seed=2)[0].prompt != requests[0].prompt


def test_distinct_tokens_and_their_operations():
    case = Classification(shared=600, inputs=200, input_tokens=40, labels=10)
    assert case.distinct_tokens == 600 + 200 * (40 + 20)
    assert case.full_tokens == 2000 * 642
    config = nano().module.config
    twice = scoring_operations(config, Classification(600, 400, 40, 10))
    once = scoring_operations(config, case)
    prefix = scoring_operations(config, Classification(600, 0, 40, 10))
    assert twice - prefix == pytest.approx(2 * (once - prefix))
    parameters = nano().facts.body_parameters
    assert parameters is not None
    # The head and attention come on top of two operations a parameter and token.
    assert 1.0 < once / (2 * parameters * case.distinct_tokens) < 2.0


def test_a_forward_pass_in_two_parts_takes_a_last_layer_less_than_in_one():
    config, rows = nano().module.config, [TrainRow([5] * 40, 36), TrainRow([5] * 9, 7)]
    apart = inputs_once(config, rows) + after_inputs(config, rows, virtual=20) / 2
    # Nobody reads what the last layer makes of an input, nor of 19 of the 20 virtual tokens,
    # beyond their keys and values.
    width = config.hidden_size
    idle = (36 + 19, 7 + 19)
    beyond = sum(
        2 * n * (2 * width * width + 2 * width * config.ffn_dim) + 4 * width * n * (n + 1) / 2
        for n in idle
    )
    assert apart + beyond == pytest.approx(whole_rows(config, rows, virtual=20) / 2)
    twice = [rows, rows]
    assert tuned_after(config, twice, virtual=20) == pytest.approx(
        inputs_once(config, rows) + 2 * after_inputs(config, rows, virtual=20)
    )
    assert whole_rows(config, rows, virtual=20, head=True) > whole_rows(config, rows, virtual=20)


@pytest.mark.parametrize(
    ("looks", "steps"),
    [
        ([(0, 4), (1, 4), (1, 10)], {0: 4, 1: 10}),  # side by side, then the winner
        ([(0, 5), (1, 9), (1, 20)], {0: 5, 1: 15}),  # in turns
        ([], {}),
    ],
)
def test_steps_of_each_trial_come_from_the_record(looks, steps):
    assert steps_by_trial([FitStep(trial=t, step=s) for t, s in looks]) == steps


def test_results_say_where_and_on_what_they_were_measured(tmp_path: Path):
    figures = {**surroundings(), "lines": [ratio((1.0,), (9.0,)).record()]}
    write(tmp_path / "job.json", figures)
    found = json.loads((tmp_path / "job.json").read_text("utf-8"))
    for key in ("commit", "cpu", "cores", "threads", "memory_bytes", "versions"):
        assert found[key]
    line = found["lines"][0]
    assert line["luthier"]["seconds_a_unit"] == pytest.approx(0.01)
    assert line["peer_side"]["units"] == 10
    assert not list(tmp_path.glob("*.part"))


def test_kept_results_hold_what_the_table_needs(capsys: pytest.CaptureFixture[str]):
    kept = [json.loads(p.read_text("utf-8")) for p in sorted(RESULTS.glob("*.json"))]
    lines = [line for result in kept for line in result.get("lines", [])]
    assert all(result["benchmark"] in JOBS | OTHERS for result in kept)
    unasked = Share("growth over operations", "slope", 0.2, None).record()
    show([*lines, unasked, ratio((1.0,), (9.0,)).record()])
    assert "met" in capsys.readouterr().out
    for line in lines:
        if line["kind"] == "ratio":
            assert line["rounds"] == len(line["luthier"]["seconds"])
            assert line["peer_side"]["units"] > 0
            assert (line["verdict"] == "met") <= line["equal"]["holds"]
