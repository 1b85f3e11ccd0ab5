"""Bad input: each case gets the value, the choices and the next step, and exit code 2."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from luthier.errors import TaskError
from luthier.task.task import Task
from tests.task_rows import rows, task_file, write_csv, write_task


def refused(path: str | Path) -> str:
    with pytest.raises(TaskError) as caught:
        Task.load(path)
    assert caught.value.exit_code == 2
    assert caught.value.next_step
    return str(caught.value)


def test_a_missing_column(tmp_path: Path) -> None:
    said = refused(task_file(tmp_path, rows(), "target: quee"))
    assert "rows.csv has no column 'quee'" in said
    assert "Choices: message, queue, customer, number." in said
    assert "Did you mean 'queue'?" in said


def test_a_missing_column_in_jsonl(tmp_path: Path) -> None:
    lines = "\n".join(json.dumps(r) for r in rows())
    (tmp_path / "rows.jsonl").write_text(lines)
    said = refused(write_task(tmp_path, "group: custmer", data="rows.jsonl"))
    assert "no column 'custmer'" in said
    assert "'customer'" in said


@pytest.mark.parametrize("empty", ["", "   ", "NaN", "nan"])
def test_empty_and_nan_targets(tmp_path: Path, empty: str) -> None:
    some = rows()
    for n in (1, 4, 9):
        some[n]["queue"] = empty
    path = task_file(tmp_path, some)
    said = refused(path)
    assert "3 rows of rows.csv with an empty or NaN 'queue' (line 3, 6, 11) of 60 rows" in said
    assert "`skip_empty: true`" in said
    task = Task.load(task_file(tmp_path, some, "skip_empty: true"))
    assert len(task.train) + len(task.dev) + len(task.test) == 57
    assert "Left out: 3 rows" in task.notes[0]


def test_nan_in_json_and_memory(tmp_path: Path) -> None:
    some = rows()
    some[0]["queue"] = float("nan")
    (tmp_path / "rows.json").write_text(json.dumps(some))
    assert "NaN 'queue' (row 1)" in refused(write_task(tmp_path, data="rows.json"))
    with pytest.raises(TaskError, match="NaN 'queue'"):
        Task.from_examples(some, instruction="Choose.", input="message", target="queue")


def test_one_class_only(tmp_path: Path) -> None:
    said = refused(task_file(tmp_path, rows(labels=["a"])))
    assert "all 60 examples have the same label, 'a'" in said
    assert "`target`" in said


def test_fewer_than_twenty(tmp_path: Path) -> None:
    said = refused(task_file(tmp_path, rows(19)))
    assert "19 usable examples" in said
    assert "at least 20" in said
    assert Task.load(task_file(tmp_path, rows(20))).test


def test_free_text_is_no_label(tmp_path: Path) -> None:
    said = refused(task_file(tmp_path, rows(), "target: number"))
    assert "60 different texts in 60 examples" in said
    assert "kind: generate" in said


@pytest.mark.parametrize(
    ("encoding", "text", "where"),
    [
        ("cp1252", "caf\xe9", "byte 0xe9 at offset 200,015"),
        ("cp1252", "na\xefve caf\xe9", "byte 0xef at offset 200,014"),
    ],
)
def test_wrong_encoding(tmp_path: Path, encoding: str, text: str, where: str) -> None:
    content = "message,queue\n" + "x" * 199_998 + text + ",a\n"
    more = "".join(f"{r['message']},{r['queue']}\n" for r in rows())
    (tmp_path / "rows.csv").write_bytes((content + more).encode(encoding))
    said = refused(write_task(tmp_path))
    assert f"rows.csv is not utf-8: {where}" in said
    assert f"`encoding: {encoding}`" in said
    task = Task.load(write_task(tmp_path, f"encoding: {encoding}"))
    assert any(
        e.input.endswith("caf\xe9") for p in ("train", "dev", "test") for e in task.examples(p)
    )


def test_unknown_label(tmp_path: Path) -> None:
    some = rows()
    some[5]["queue"] = "biling"
    said = refused(task_file(tmp_path, some, "labels: [a, b, c, billing]"))
    assert "rows.csv, line 7: unknown label 'biling'" in said
    assert "Choices: a, b, c, billing." in said
    assert "Did you mean 'billing'?" in said
    renamed = task_file(tmp_path, some, "labels: [a, b, c]", "rename: {biling: b}")
    assert Task.load(renamed).labels == ("a", "b", "c")


def test_duplicate_ids(tmp_path: Path) -> None:
    said = refused(task_file(tmp_path, rows(), "id: customer"))
    assert "20 ids in column 'customer' occur more than once; the first is 'c0'" in said
    assert "(line 2, 3, 4)" in said
    assert "`group: customer`" in said


def test_missing_files(tmp_path: Path) -> None:
    write_csv(tmp_path / "rows.csv", rows())
    said = refused(write_task(tmp_path, data="row.csv"))
    assert f"there is no file {tmp_path / 'row.csv'}" in said
    assert "Did you mean 'rows.csv'?" in said
    said = refused(tmp_path / "tsk.yaml")
    assert "task.yaml'?" in said
    assert "docstrings, pydoc, routing, scenes, shop" in said
    assert "Did you mean 'routing'?" in refused("routin")
    # A path that leads nowhere is a path to check: nobody asked for a lesson, or for another file
    # that ends in .yaml too.
    (tmp_path / "col.yaml").write_text("name: x", "utf-8")
    said = refused(tmp_path / "nofile.yaml")
    assert "Check the path" in said.splitlines()[-1]
    assert "Did you mean" not in said
    assert "folder does not exist" in refused(write_task(tmp_path, data="no/rows.csv"))


def test_data_instead_of_a_task_file(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "rows.csv", rows())
    said = refused(path)
    assert "is a data file" in said
    minimal = said[said.index("instruction:") :]
    assert len(minimal.splitlines()) == 5
    assert "data: rows.csv" in minimal
    # What the message shows must work.
    (tmp_path / "shown.yaml").write_text(minimal)
    assert Task.load(tmp_path / "shown.yaml").name == "shown"


def test_folders_and_odd_files(tmp_path: Path) -> None:
    task_file(tmp_path, rows())
    assert "is a folder" in refused(tmp_path)
    assert "Choices: task.yaml." in refused(tmp_path)
    (tmp_path / "sub").mkdir()
    assert "is a folder, not a data file" in refused(write_task(tmp_path, data="sub"))
    (tmp_path / "rows.xlsx").write_bytes(b"PK")
    assert "no reader for .xlsx" in refused(write_task(tmp_path, data="rows.xlsx"))
    (tmp_path / "notes.txt").write_text("x")
    assert ".yaml, .yml" in refused(tmp_path / "notes.txt")
    assert "no task 'a\\x00b.yaml'" in refused("a\0b.yaml")
    assert "cannot read 'xxx" in refused("x" * 5000)


@pytest.mark.parametrize("name", ["rows.csv", "rows.json", "rows.jsonl", "rows.parquet"])
def test_an_empty_data_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    assert "is empty (0 bytes)" in refused(write_task(tmp_path, data=name))


def test_a_header_alone(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("message,queue\n")
    assert "holds no rows" in refused(write_task(tmp_path))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("just words", "holds a str"),
        ("- a\n- b", "holds a list"),
        ("a: [1, 2", "line 1, column 9: not YAML"),
        ("name: a\nname: b", "the key 'name' occurs twice"),
        ("a: &x 1\nb: *x", "aliases"),
        ("a: !!python/object:os.system x", "not YAML"),
        ("a: !!timestamp soon", "not YAML"),
        ("? [a]\n: b", "plain word"),
        ("[" * 1200, "not YAML"),
        ("name: x", "the key `data` is missing"),
        ("data: x.csv", "the key `input` is missing"),
        ("instruktion: x", "unknown key 'instruktion'"),
    ],
)
def test_what_is_no_task_file(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "task.yaml"
    path.write_text(text)
    assert said in refused(path)


def test_a_task_file_in_latin_1(tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_bytes("name: caf\xe9".encode("latin-1"))
    assert "task.yaml is not UTF-8: byte 0xe9 at offset 9" in refused(tmp_path / "task.yaml")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("kind: clasify", "Did you mean 'classify'?"),
        ("scorer: acuracy", "Did you mean 'accuracy'?"),
        ("scorer: [a]", "`scorer` must be text"),
        ("scorer: json-schema", "there is no schema"),
        ("labels: [a]", "at least 2"),
        ("labels: [a, b, a]", "names a twice"),
        ("labels: 3", "lists 1 label"),
        ("limit: 0", "whole number above 0"),
        ("limit: many", "not 'many'"),
        ("skip_empty: maybe", "Choices: true, false."),
        ("encoding: utf-9", "does not know"),
        ("encoding: base64", "does not know"),
        ("leaks: kep", "Did you mean 'keep'?"),
        ("split: 0.8", "must be a mapping"),
        ("split: {train: 0.8, dev: 0.1, test: 0.2}", "add up to 1"),
        ("split: {train: 0.8, test: 0.2}", "together 1"),
        ("split: {train: 0.8, tst: 0.2}", "Did you mean 'test'?"),
        ("split: {train: a.csv}", "names no file for test"),
        ("split: {train: a.csv, test: b.csv}", "`data` names one too"),
        ("split: {train: .nan, dev: 0.2, test: 0.2}", "fractions or files"),
        ("rename: [a]", "must be a mapping"),
        ("schema: 'no.json'", "cannot read"),
        ("schema: {type: 3}", "not a valid JSON schema"),
        ("input: {a: b}", "must be text"),
        ("data: '${NOT_SET_ANYWHERE}/x.csv'", "NOT_SET_ANYWHERE is not set"),
        ("data: hub:a/b/c", "is no hub source"),
        ("data: bundled:routin", "Did you mean 'routing'?"),
        ("data: gone.py:rows", "there is no file"),
    ],
)
def test_wrong_values(
    tmp_path: Path, line: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUTHIER_ALLOW_CODE", "1")
    assert said in refused(task_file(tmp_path, rows(), line))


def test_labels_belong_to_classify(tmp_path: Path) -> None:
    said = refused(task_file(tmp_path, rows(), "kind: chat", "labels: [a, b, c]"))
    assert "belong to kind classify" in said


def test_unset_data_folder_names_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LUTHIER_DATA", raising=False)
    said = refused(write_task(tmp_path, data="${LUTHIER_DATA}/sst2/train.csv"))
    assert "LUTHIER_DATA is not set" in said
    assert "hub:stanfordnlp/sst2" in said


def test_too_few_groups(tmp_path: Path) -> None:
    some = [{**r, "customer": f"c{n % 2}"} for n, r in enumerate(rows())]
    assert "only 2 groups" in refused(task_file(tmp_path, some, "group: customer"))


def test_nothing_but_copies(tmp_path: Path) -> None:
    some = [rows()[n % 6] for n in range(60)]
    said = refused(task_file(tmp_path, some))
    assert "54 repeated rows" in said
    assert "`leaks: keep`" in said


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("rows.csv", 'message,queue\n"never closed,a\n' + "x,b\n" * 30, "from line 2 on"),
        ("rows.csv", "message,queue\n" + "x\n" * 30, "30 rows of rows.csv with an empty"),
        ("rows.csv", "message,queue\nhello, there,a\n", "line 2 has 3 cells, the header has 2"),
        ("rows.csv", "message,message,queue\na,b,c\n", "2 columns 'message'"),
        ("rows.jsonl", '{"message": "a", "queue": "b"}\n{"message": \n', "line 2: not JSON"),
        ("rows.jsonl", "[1]\n", "row 1 is a int"),
        ("rows.jsonl", "3\n", "line 1 holds a int"),
        ("rows.json", '{"a": 1}', "holds no list of objects"),
        ("rows.json", "[1, 2]", "row 1 is a int"),
        ("rows.json", "[" * 100_000, "cannot be read"),
        ("rows.json", "[" + "9" * 5000 + "]", "cannot be read"),
        ("rows.parquet", "PAR1 nonsense PAR1", "not a Parquet file"),
    ],
)
def test_broken_data(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(TaskError) as caught:
        Task.load(write_task(tmp_path, data=name))
    assert said in str(caught.value)


def test_targets_must_hold_to_the_schema(tmp_path: Path) -> None:
    schema = "schema: {type: object, required: [city], properties: {city: {type: string}}}"
    good = [{**r, "queue": json.dumps({"city": f"c{n}"})} for n, r in enumerate(rows())]
    task = Task.load(task_file(tmp_path, good, "kind: extract", schema))
    assert task.scorer == "json-fields", "that it fits the schema is not yet right"
    assert task.schema is not None
    good[3]["queue"] = json.dumps({"town": "x"})
    assert "'city' is a required property" in refused(
        task_file(tmp_path, good, "kind: extract", schema)
    )
    good[3]["queue"] = "Paris"
    assert "its target is not JSON: 'Paris'" in refused(
        task_file(tmp_path, good, "kind: extract", schema)
    )
    (tmp_path / "schema.json").write_text('{"type": "object"}')
    good[3]["queue"] = "{}"
    task = Task.load(task_file(tmp_path, good, "kind: extract", "schema: schema.json"))
    assert task.schema == {"type": "object"}


def test_a_label_that_looks_like_a_slip_is_noted(tmp_path: Path) -> None:
    some = [{**row, "queue": "refunds" if i % 2 else "delivery"} for i, row in enumerate(rows())]
    some[7]["queue"] = "refund"
    notes = Task.load(task_file(tmp_path, some, "")).notes
    assert any("'refund' occurs once: is it 'refunds'?" in note for note in notes)
    mended = Task.load(task_file(tmp_path, some, "rename: {refund: refunds}"))
    assert mended.labels == ("delivery", "refunds")
    assert not any("occurs once" in note for note in mended.notes)
