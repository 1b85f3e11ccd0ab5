"""`luthier predict`, `ask --json`, `report --csv`, and what notebooks show."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time

import pytest

import luthier
from luthier.cli.main import run as command
from luthier.errors import UserError
from luthier.serving.files.predict_file import predict_file
from luthier.serving.files.prediction_journal import PredictionJournal
from luthier.serving.files.prediction_rows import AskedColumns, read_rows
from tests.serving_run import make_run

TEXTS = ["refund please", "parcel late, again", 'a "quoted" word', "", "zebra"]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "toys")


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "new.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["ticket", "message"])
        writer.writerows((f"T{i}", text) for i, text in enumerate(TEXTS))
    return path


def read_csv(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_every_row_is_answered_with_its_probabilities(run_folder, table, tmp_path, capsys):
    out = tmp_path / "answers.csv"
    assert command(["predict", str(run_folder / "few-shot"), str(table), "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    rows, model = read_csv(out), luthier.load(run_folder / "few-shot")
    assert [row["ticket"] for row in rows] == ["T0", "T1", "T2", "T3", "T4"]
    for row, text in zip(rows, TEXTS, strict=True):
        assert row["message"] == text
        if not text:
            assert row["answer"] == row["probabilities"] == ""
            continue
        assert row["answer"] == model.ask(text)
        shares = json.loads(row["probabilities"])
        assert sum(shares.values()) == pytest.approx(1, abs=1e-4)
        assert max(shares, key=shares.get) == row["answer"]
        assert float(row["probability"]) == shares[row["answer"]]
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize("suffix", ["jsonl", "parquet", "tsv"])
def test_other_formats_hold_the_same(run_folder, table, tmp_path, suffix):
    rows = read_rows(table, None)
    model = luthier.load(run_folder / "few-shot")
    predict_file(model, rows, out=tmp_path / "a.csv")
    out = tmp_path / f"a.{suffix}"
    predict_file(model, rows, out=out)
    wanted = [row["answer"] or None for row in read_csv(tmp_path / "a.csv")]
    again = read_rows(out, AskedColumns("message"))
    assert [row.get("answer") or None for row in again.rows] == wanted
    # and a file in this format is read as well as written
    there = tmp_path / f"new.{suffix}"
    out.rename(there)
    found = read_rows(there, AskedColumns("message"))
    assert [found.example(n) is None for n in range(5)] == [not text for text in TEXTS]


def test_a_file_without_the_column_is_refused_with_the_columns_there_are(
    run_folder, table, tmp_path, capsys
):
    line = ["predict", str(run_folder), str(table), "-o", str(tmp_path / "x.csv"), "--input", "txt"]
    assert command(line) == 2
    error = capsys.readouterr().err
    assert "'txt'" in error
    assert "ticket, message" in error
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n", "utf-8")
    with pytest.raises(UserError, match="which column") as caught:
        read_rows(other, None)
    assert caught.value.choices == ("a", "b")
    with pytest.raises(UserError, match="no column 'input'"):  # the task's own column
        read_rows(other, AskedColumns("input"))


@pytest.mark.parametrize("out", ["x.xlsx", "missing/x.csv"])
def test_an_output_that_cannot_be_written_is_refused_first(run_folder, table, tmp_path, out):
    model = luthier.load(run_folder / "few-shot")
    with pytest.raises(UserError):
        predict_file(model, read_rows(table, None), out=tmp_path / out)


def test_columns_of_the_input_are_not_overwritten(tmp_path, run_folder):
    table = tmp_path / "t.csv"
    table.write_text("input,answer\na,b\n", "utf-8")
    with pytest.raises(UserError, match="'answer' already"):
        predict_file(luthier.load("fake"), read_rows(table, None), out=tmp_path / "o.csv")


def test_a_journal_is_gone_on_with_and_a_torn_line_is_forgotten(tmp_path):
    path = tmp_path / "j"
    with PredictionJournal(path, "one") as journal:
        journal.add({0: {"answer": "a"}, 1: {"answer": "b"}})
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"row": 2, "answ')
    with PredictionJournal(path, "one") as journal:
        assert journal.answers == {0: {"answer": "a"}, 1: {"answer": "b"}}
        journal.add({2: {"answer": "c"}})
    assert path.read_bytes() == whole + b'{"row": 2, "answer": "c"}\n'
    with PredictionJournal(path, "another") as journal:
        assert journal.answers == {}


KILLED = """
import sys, time, luthier
from luthier.serving.files import predict_file as module
from luthier.serving.files.prediction_rows import read_rows
from pathlib import Path
folder, table, out = map(Path, sys.argv[1:])
answer = module.respond_to
def slow(*args, **more):
    print("chunk", flush=True)
    time.sleep(0.3)
    return answer(*args, **more)
module.respond_to = slow
module.predict_file(luthier.load(folder), read_rows(table, None), out=out)
"""


@pytest.mark.slow
def test_a_prediction_that_is_killed_goes_on(run_folder, tmp_path):
    table, out = tmp_path / "many.csv", tmp_path / "out.csv"
    lines = "".join(f"text number {i} refund\n" for i in range(400))
    table.write_text("input\n" + lines, "utf-8")
    model = luthier.load(run_folder / "few-shot")
    command = [sys.executable, "-c", KILLED, str(run_folder / "few-shot"), str(table), str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for _ in range(3):
            process.stdout.readline()
        time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
    assert not out.exists()
    done = predict_file(model, read_rows(table, None), out=out)
    assert 64 <= done.resumed < 400
    assert done.rows == 400
    predict_file(model, read_rows(table, None), out=tmp_path / "straight.csv")
    assert out.read_bytes() == (tmp_path / "straight.csv").read_bytes()


def test_ask_tells_the_probabilities(run_folder, capsys):
    assert command(["ask", str(run_folder / "few-shot"), "refund please", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert max(told["probabilities"], key=told["probabilities"].get) == told["answer"]
    assert sum(told["probabilities"].values()) == pytest.approx(1)


def test_a_comparison_shows_itself_as_a_table_a_frame_and_csv(run_folder, capsys):
    comparison = luthier.Comparison.load(run_folder)
    page = comparison._repr_html_()
    assert page.count("<tr") == 1 + len(comparison.results) + len(comparison.references)
    assert "few-shot" in page
    frame = comparison.to_frame().set_index("technique")
    for result in comparison.results:
        assert frame.loc[result.technique, "value"] == result.score.value
        assert frame.loc[result.technique, "kind"] == "technique"
    assert command(["report", str(run_folder), "--csv"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["technique"] for row in rows] == list(frame.index)
    assert float(rows[0]["value"]) == comparison.results[0].score.value


def test_an_evaluation_shows_itself_and_escapes_what_it_shows():
    from luthier.content import Usage

    sample = luthier.SampleScore("e1", "<b>", "a", "a", "a", True, 1.0)
    result = luthier.EvalResult(
        luthier.Score("<i>accuracy", 1.0, 0.5, None), luthier.Score("parse-rate", None), (),
        (sample,), Usage(), 0.1,
    )  # fmt: skip
    page = result._repr_html_()
    assert "&lt;i&gt;accuracy" in page
    assert "–" in page
    frame = result.to_frame()
    assert list(frame["input"]) == ["<b>"]
    assert list(frame["value"]) == [1.0]
