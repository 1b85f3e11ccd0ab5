"""Every source gives the same rows; large ones are streamed; leaks are found."""

from __future__ import annotations

import json
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from luthier.errors import TaskError
from luthier.records import Example
from luthier.task.leaks import check_leaks
from luthier.task.reading.loaders import read_source
from luthier.task.task import Task
from tests.task_rows import rows, task_file, write_csv, write_task


def test_every_format_gives_the_same_examples(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    some = rows()
    parquet.write_table(pa.Table.from_pylist(some), tmp_path / "rows.parquet")
    write_csv(tmp_path / "rows.csv", some)
    write_csv(tmp_path / "bom.csv", some, encoding="utf-8-sig")
    header, *lines = (tmp_path / "rows.csv").read_text().splitlines()
    (tmp_path / "rows.tsv").write_text("\n".join([header, *lines]).replace(",", "\t"))
    (tmp_path / "semicolons.csv").write_text("\r\n".join([header, *lines]).replace(",", ";"))
    (tmp_path / "rows.json").write_text(json.dumps(some))
    (tmp_path / "under.json").write_text(json.dumps({"meta": [], "data": some}))
    (tmp_path / "by_id.json").write_text(json.dumps({r["number"]: r for r in some}))
    (tmp_path / "rows.jsonl").write_text("\n\n".join(map(json.dumps, some)))
    (tmp_path / "made.py").write_text(f"def rows():\n    yield from {some!r}\n")
    names = [p.name for p in tmp_path.iterdir() if p.suffix != ".py"]
    tasks = {
        n: Task.load(write_task(tmp_path, data=n), allow_code=True)
        for n in [*names, "made.py:rows"]
    }
    assert len(tasks) == 10
    first = tasks["rows.csv"]
    assert len(first.train) == 36
    differing = {
        name
        for name, task in tasks.items()
        if (task.fingerprint, task.leaks, task.notes)
        != (first.fingerprint, first.leaks, first.notes)
    }
    assert differing == set()


def test_cells_of_other_types_become_text(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    some: list[dict[str, Any]] = [
        {**r, "queue": n % 2, "message": [{"role": "user", "content": r["message"]}]}
        for n, r in enumerate(rows())
    ]
    some[0]["queue"] = numpy.int64(1)
    some[1]["queue"] = 0.0
    some[2]["message"] = "broken \ud83d emoji\r\nand a line"
    some[3]["message"] = {"subject": "Stra\xdfe"}
    task = Task.from_examples(some, instruction="Choose.", input="message", target="queue")
    assert task.labels == ("0", "1")
    inputs = {e.input for part in ("train", "dev", "test") for e in task.examples(part)}
    assert "broken ? emoji\nand a line" in inputs
    assert '{"subject": "Stra\xdfe"}' in inputs
    assert f"User: {rows()[4]['message']}" in inputs


def test_yes_and_no_stay_words(tmp_path: Path) -> None:
    task = Task.load(task_file(tmp_path, rows(labels=["yes", "no"]), "labels: {yes: agreed, no: }"))
    assert task.labels == ("yes", "no")
    assert task.label_descriptions == (("yes", "agreed"),)


def test_passages_go_to_the_context(tmp_path: Path) -> None:
    task = Task.load(
        task_file(tmp_path, rows(), "passage: customer", "kind: question-answering", "context: Hi")
    )
    assert task.train[0].context
    assert task.base_prompt().context == "Hi"


def test_separate_files_and_dev_cut_from_train(tmp_path: Path) -> None:
    write_csv(tmp_path / "one.csv", rows(80))
    write_csv(tmp_path / "two.csv", rows(100)[80:])
    path = write_task(tmp_path, "split: {train: one.csv, test: two.csv}", "id: number", "data:")
    task = Task.load(path)
    assert {e.input for e in task.test} == {r["message"] for r in rows(100)[80:]}
    assert (len(task.train), len(task.dev)) == (60, 20)
    assert task.train[0].id.startswith("train-")


def test_groups_of_separate_files_do_not_straddle(tmp_path: Path) -> None:
    write_csv(tmp_path / "one.csv", rows(80))
    write_csv(tmp_path / "two.csv", [{**r, "customer": "c0"} for r in rows(100)[80:]])
    lines = ("split: {train: one.csv, test: two.csv}", "group: customer", "data:")
    task = Task.load(write_task(tmp_path, *lines))
    assert task.leaks.straddling_groups == 1
    assert not any(e.group == "c0" for e in (*task.train, *task.dev))


def test_a_large_csv_is_streamed(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    with path.open("w") as stream:
        stream.write("message,queue,rest\n")
        for n in range(30_000):
            stream.write(f"w{n} x{n} y{n} z{n},{'ab'[n % 2]},{'-' * 1000}\n")
    task_path = write_task(tmp_path, "limit: 500")
    tracemalloc.start()
    task = Task.load(task_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(task.train) + len(task.dev) + len(task.test) == 500
    assert "Only the first 500 rows" in task.notes[0]
    assert path.stat().st_size > 30_000_000
    assert peak < 8_000_000


def test_the_default_limit_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("luthier.task.reading.loaders.DEFAULT_LIMIT", 40)
    task = Task.load(task_file(tmp_path, rows()))
    assert "Only the first 40 rows of rows.csv were read (set `limit`" in task.notes[0]
    monkeypatch.setattr("luthier.task.reading.loaders.MOST_CHARACTERS", 900)
    task = Task.load(task_file(tmp_path, rows()))
    assert "characters; write shorter texts" in task.notes[0]


def test_large_cells_are_read_and_runaway_ones_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = rows()
    some[0]["message"] = "word " * 60_000  # 300,000 characters; the csv module stops at 131,072
    assert Task.load(task_file(tmp_path, some)).train
    monkeypatch.setattr("luthier.task.reading.text_lines.MOST_LINE_CHARACTERS", 1000)
    with pytest.raises(TaskError, match=r"line 2 is longer than 1,000 characters"):
        Task.load(tmp_path / "task.yaml")


def test_functions_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "made.py").write_text(
        "import os\n"
        "def fails():\n    raise RuntimeError('no luck')\n    yield {}\n"
        "def wrong():\n    return [1]\n"
    )
    for name, said in (
        ("fails", "made.py:fails failed: RuntimeError: no luck"),
        ("wrong", "yielded a int"),
        ("absent", "has no function 'absent'"),
    ):
        with pytest.raises(TaskError) as caught:
            Task.load(write_task(tmp_path, data=f"made.py:{name}"), allow_code=True)
        assert said in str(caught.value)
    (tmp_path / "made.py").write_text("1 / 0")
    with pytest.raises(TaskError, match="failed on import: ZeroDivisionError"):
        Task.load(write_task(tmp_path, data="made.py:rows"), allow_code=True)


def test_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Names:
        names = ("no", "yes")

    class Found(list[dict[str, Any]]):
        column_names = ("text", "label")
        features = {"text": object(), "label": Names()}  # noqa: RUF012

        def select_columns(self, columns: list[str]) -> list[dict[str, Any]]:
            return [{c: row[c] for c in columns} for row in self]

    class Library:
        @staticmethod
        def load_dataset(*args: object, **keys: object) -> Found:
            asked.append((args, keys))
            return Found([{"text": "a", "label": 1}, {"text": "b", "label": -1}])

    monkeypatch.setitem(sys.modules, "datasets", Library)
    table = read_source("hub:org/name:small#validation", columns=("text", "label"))
    assert asked == [(("org/name", "small"), {"split": "validation"})]
    assert [row for _, row in table.rows] == [
        {"text": "a", "label": "yes"},
        {"text": "b", "label": None},
    ]

    def offline(*args: object, **keys: object) -> Found:
        raise ConnectionError("no route to the hub")

    monkeypatch.setattr(Library, "load_dataset", offline)
    with pytest.raises(TaskError, match="no route to the hub") as caught:
        read_source("hub:org/name", columns=("text",))
    assert "Offline, download the set" in str(caught.value)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(TaskError, match="needs the package datasets"):
        read_source("hub:org/name", columns=("text",))


def example(n: int, text: str, target: str = "a", **more: str) -> Example:
    return Example(f"e{n}", text, target, **more)


LONG = "the card I ordered two weeks ago has still not arrived at my house"


@pytest.mark.parametrize(
    ("copy", "exact"),
    [
        (LONG, True),
        (LONG.upper() + " ", True),
        (LONG + "!", False),
        (LONG.replace("house", "home"), False),
        (LONG.replace("two", "three"), False),
    ],
)
def test_planted_copies_are_found_and_the_test_keeps_its_own(copy: str, exact: bool) -> None:
    others = [example(n, r["message"]) for n, r in enumerate(rows(30))]
    splits = {
        "train": [*others[:20], example(100, copy)],
        "dev": [*others[20:25], example(101, copy)],
        "test": [*others[25:], example(102, LONG)],
    }
    kept, report = check_leaks(splits, drop=True, labels=True)
    assert (report.exact, report.near) == ((2, 0) if exact else (0, 2))
    assert [len(kept[part]) for part in ("train", "dev", "test")] == [20, 5, 6]
    assert {leak.example_id for leak in report.samples} == {"e100", "e101"}
    assert {leak.found_id for leak in report.samples} == {"e102"}
    as_it_was, report = check_leaks(splits, drop=False, labels=True)
    assert [len(as_it_was[part]) for part in ("train", "dev", "test")] == [21, 6, 6]
    assert report.exact + report.near == 2
    assert not report.dropped
    assert json.loads(json.dumps(report.as_dict()))["samples"][0]["found_split"] == "test"


@pytest.mark.parametrize(
    "other", ["2 - 2", "the card I ordered", LONG.split(" at ")[0] + " and I want it"]
)
def test_what_only_looks_alike_stays(other: str) -> None:
    short = "2 + 2" if other == "2 - 2" else LONG
    kept, report = check_leaks(
        {"train": [example(0, other)], "dev": [], "test": [example(1, short)]},
        drop=True,
        labels=True,
    )
    assert report.near == 0
    assert len(kept["train"]) == 1


def test_one_question_about_two_passages_is_two_examples() -> None:
    one = example(0, LONG, context="Paris is the capital of France and lies on the Seine")
    other = example(1, LONG, context="Rome is the capital of Italy and lies on the Tiber")
    _, report = check_leaks({"train": [one], "dev": [], "test": [other]}, drop=True, labels=False)
    assert report.exact + report.near == 0


def test_repeated_rows_go_and_contradictions_are_counted() -> None:
    splits = {
        "train": [example(0, "one two"), example(1, "One  two"), example(2, "one two", "b")],
        "dev": [],
        "test": [],
    }
    kept, report = check_leaks(splits, drop=True, labels=True)
    assert report.repeated == 1
    assert report.conflicting == 1
    assert [e.id for e in kept["train"]] == ["e0", "e2"]
