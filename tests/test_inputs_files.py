"""Data files as people have them: other signs, encodings and shapes give the same examples."""

from __future__ import annotations

import bz2
import datetime
import decimal
import gzip
import json
import lzma
import unicodedata
from pathlib import Path

import pytest

from luthier.errors import TaskError
from luthier.task.reading.loaders import read_source
from luthier.task.task import Task
from tests.task_rows import rows, task_file, write_task

pytestmark = pytest.mark.inputs

COLUMNS = ("message", "queue")
WANTED = [("one, and; more", "a"), ("two\nlines", "b"), ('a "quoted" café', "a")]
HUB = b"huggingface"


def read(path: Path, **settings: object) -> list[tuple[object, object]]:
    table = read_source(str(path), columns=COLUMNS, **settings)  # type: ignore[arg-type]
    return [(row.get("message"), row.get("queue")) for _, row in table.rows]


def table(delimiter: str, *, header: str = "", ends: str = "\n", tail: str = "") -> str:
    """The wanted rows with every cell quoted, and cells after them."""
    lines = [header or delimiter.join(COLUMNS) + tail]
    for message, queue in WANTED:
        cells = (message.replace('"', '""'), queue)
        lines.append(delimiter.join(f'"{cell}"' for cell in cells) + tail)
    return ends.join(lines) + ends


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sep.csv", "sep=;\n" + table(";")),
        ("sep-tab.csv", "sep=\t\r\n" + table("\t", ends="\r\n")),
        ("sep-quoted.csv", '"sep=|"\n' + table("|")),
        ("sep-filled.csv", "SEP=;;;\n" + table(";")),
        ("sep-mark.csv", "\ufeffsep=;\n" + table(";")),
        ("sep-wrong.csv", "sep=;\n" + table(",")),
        ("sep-other.csv", "sep=^\n" + table("^")),
        ("semicolons.csv", table(";", header="message;queue;notes, remarks, and more")),
        ("semicolons-quoted.csv", table(";", header='"message";"queue";"a,b,c,d"')),
        ("tabs.csv", table("\t", header="message\tqueue\tprice, in €; net")),
        ("bars.csv", table("|", header="message|queue|a,b|c;d")),
        ("commas.tsv", table(",")),
        ("ends.csv", table(",", tail=",,,")),
        ("row-ends.csv", table(";", header="message;queue", tail=";;")),
        ("blank-ends.csv", table(",", tail=", , ")),
        ("old-mac.csv", table(",", ends="\r")),
        ("mixed-ends.csv", table(",").replace("\n", "\r\n", 2)),
        ("empty-rows.csv", table(";", ends="\n;;\n\n")),
        ("header-spaces.csv", table(",", header='\u200b message ,"queue\xa0"')),
        ("protected.csv", table(",").replace('"a"', '"=""a"""')),
    ],
)
def test_tables_of_other_programs(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_bytes(text.encode())
    assert read(tmp_path / name) == WANTED


@pytest.mark.parametrize("mark", [False, True])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("said", ["utf-8-sig", "utf-16", "cp1252"])
def test_the_encoding_is_read_off_the_bytes(
    tmp_path: Path, encoding: str, mark: bool, said: str
) -> None:
    if not mark and (encoding.startswith("utf-32") or (encoding == "utf-8" and said != encoding)):
        pytest.skip("nothing in the file tells")
    start = "\ufeff".encode(encoding) if mark else b""
    for name, text in (
        ("rows.csv", table(";")),
        ("rows.jsonl", "\n".join(json.dumps(dict(zip(COLUMNS, r, strict=True))) for r in WANTED)),
        ("rows.json", json.dumps([dict(zip(COLUMNS, r, strict=True)) for r in WANTED])),
    ):
        (tmp_path / name).write_bytes(start + text.encode(encoding))
        assert read(tmp_path / name, encoding=said) == WANTED


def test_utf_16_of_other_scripts_is_found(tmp_path: Path) -> None:
    for number, word in enumerate(("満足です", "привет мир", "مرحبا", "हिन्दी", "สวัสดี")):
        for encoding in ("utf-16-le", "utf-16-be"):
            path = tmp_path / f"{number}-{encoding}.csv"
            path.write_bytes(f"message,queue\n{word},a\n{word},b\n".encode(encoding))
            assert read(path) == [(word, "a"), (word, "b")]


def test_a_wrong_encoding_is_told(tmp_path: Path) -> None:
    some = rows()
    some[0]["message"] = "café naïve"
    path = task_file(tmp_path, some, "encoding: latin-1")
    assert any("all of it is UTF-8" in note for note in Task.load(path).notes)
    text = (tmp_path / "rows.csv").read_text("utf-8")
    (tmp_path / "rows.csv").write_bytes(text.encode("cp1252"))
    assert not Task.load(path).notes
    with pytest.raises(TaskError, match="encoding: cp1252"):
        Task.load(write_task(tmp_path))


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("shift_jis", "この商品はいつ届きますか。返品したいのですが、方法を教えてください。"),
        ("gb18030", "请问这个商品什么时候能到货？我想退货，应该怎么办理手续呢？"),
        ("euc_kr", "주문한 상품이 아직 도착하지 않았습니다. 언제 받을 수 있나요?"),
        ("cp1251", "Здравствуйте, где мой заказ? Я хотел бы вернуть деньги за товар."),
        ("cp1252", "Où est ma commande? Je voudrais être remboursé, s’il vous plaît."),
    ],
)
def test_the_encoding_that_is_proposed_reads_the_file(
    tmp_path: Path, encoding: str, text: str
) -> None:
    some = [{**r, "message": f"{text} {n}"} for n, r in enumerate(rows())]
    path = task_file(tmp_path, some)
    data = (tmp_path / "rows.csv").read_text("utf-8")
    (tmp_path / "rows.csv").write_bytes(data.encode(encoding))
    with pytest.raises(TaskError) as caught:
        Task.load(path)
    proposed = caught.value.next_step.split("`")[1]  # type: ignore[union-attr]
    assert all(e.input.startswith(text) for e in Task.load(write_task(tmp_path, proposed)).train)


@pytest.mark.parametrize(
    ("suffix", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)]
)
def test_compressed_files(tmp_path: Path, suffix: str, pack: object) -> None:
    objects = [dict(zip(COLUMNS, r, strict=True)) for r in WANTED]
    for name, text in (
        ("rows.csv", table(",")),
        ("rows.tsv", table("\t")),
        ("rows.jsonl", "\n".join(map(json.dumps, objects))),
        ("rows.json", json.dumps(objects)),
    ):
        data = pack(text.encode("utf-16"))  # type: ignore[operator]
        for path in (tmp_path / f"{name}{suffix}", tmp_path / name):  # the suffix may be lost
            path.write_bytes(data)
            assert read(path) == WANTED
    (tmp_path / f"cut.csv{suffix}").write_bytes(data[: len(data) - 9])
    with pytest.raises(TaskError, match="compressed, and broken"):
        read(tmp_path / f"cut.csv{suffix}")


OBJECTS = [{"message": m, "queue": q, "more": n} for n, (m, q) in enumerate(WANTED)]
BY_COLUMN = {key: [row[key] for row in OBJECTS] for key in OBJECTS[0]}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("lines.json", "\n".join(map(json.dumps, OBJECTS))),
        ("blank-lines.json", "\ufeff" + "\n\n".join(map(json.dumps, OBJECTS)) + "\n\n"),
        ("printed.json", "\n".join(json.dumps(row, indent=2) for row in OBJECTS)),
        ("list.jsonl", json.dumps(OBJECTS)),
        ("printed-list.jsonl", "\n" + json.dumps(OBJECTS, indent=2)),
        ("list.ndjson", json.dumps(OBJECTS)),
        ("columns.json", json.dumps(BY_COLUMN)),
        ("pandas.json", json.dumps({k: dict(enumerate(v)) for k, v in BY_COLUMN.items()})),
        ("split.json", json.dumps({"columns": list(OBJECTS[0]), "index": [0, 1, 2],
                                   "data": [list(row.values()) for row in OBJECTS]})),
        ("table.json", json.dumps({"schema": {"fields": []}, "data": OBJECTS})),
        ("by-id.json", json.dumps(dict(enumerate(OBJECTS)))),
        ("under.json", json.dumps({"version": 1, "examples": OBJECTS})),
    ],
)  # fmt: skip
def test_json_in_all_its_forms(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, "utf-8")
    assert read(tmp_path / name) == WANTED


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("book.csv", b"PK\x03\x04rest", "Excel workbook or a ZIP"),
        ("rows.csv", b"PAR1rest", "a Parquet file"),
        ("base.jsonl", b"SQLite format 3\0", "SQLite database"),
        ("top.csv", b"Exported on Monday\n\nmessage,queue\nx,a\n", "is line 3"),
        ("twice.csv", b"message,queue,queue\nx,a,b\n", "2 columns 'queue'"),
        ("wide.csv", b"message,queue\nx,a,b\n", "line 2 has 3 cells"),
        ("quote.tsv", b'message\tqueue\n"x\ta\ny"\tb\n', "swallowed the rows"),
        ("open.csv", b'message,queue\n"x,a\ny,b\n', "quotation mark"),
        ("splits.json", b'{"train": [{"message": "x"}], "test": [{"message": "y"}]}', "'test'"),
        ("book.xlsx", b"PK\x03\x04rest", "no reader for .xlsx"),
    ],
)
def test_what_cannot_be_read_is_told_kindly(
    tmp_path: Path, name: str, data: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(TaskError) as caught:
        read(tmp_path / name)
    assert said in str(caught.value)
    assert caught.value.next_step


def parquet(path: Path, columns: dict[str, object], features: object = None) -> Path:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet as writer

    made = pa.table(columns)
    if features is not None:
        kept = json.dumps({"info": {"features": features}}).encode()
        made = made.replace_schema_metadata({HUB: kept})
    writer.write_table(made, path)
    return path


@pytest.mark.parametrize(
    ("cells", "feature", "wanted"),
    [
        ([0, 1, 2], {"names": ["no", "yes", "maybe"], "_type": "ClassLabel"},
         ["no", "yes", "maybe"]),
        ([1, -1, None], {"names": ["no", "yes"], "_type": "ClassLabel"}, ["yes", None, None]),
        ([[0, 1], [], [1]], {"feature": {"names": ["x", "y"], "_type": "ClassLabel"},
                             "_type": "Sequence"}, [["x", "y"], [], ["y"]]),
        ([[0], [1], [0]], [{"names": ["x", "y"], "_type": "ClassLabel"}], [["x"], ["y"], ["x"]]),
        ([0, 1, 0], {"dtype": "int64", "_type": "Value"}, [0, 1, 0]),
        (["a", "b", "a"], {"names": ["no", "yes"], "_type": "ClassLabel"}, ["a", "b", "a"]),
    ],
)  # fmt: skip
def test_classes_of_parquet_have_names(
    tmp_path: Path, cells: list[object], feature: object, wanted: list[object]
) -> None:
    path = parquet(
        tmp_path / "rows.parquet",
        {"message": list("xyz"), "queue": cells},
        {"message": {"dtype": "string", "_type": "Value"}, "queue": feature},
    )
    assert [queue for _, queue in read(path)] == wanted


def test_a_class_without_a_name_is_an_error(tmp_path: Path) -> None:
    feature = {"queue": {"names": ["no", "yes"], "_type": "ClassLabel"}}
    path = parquet(tmp_path / "r.parquet", {"message": ["x"], "queue": [7]}, feature)
    with pytest.raises(TaskError, match="class number 7"):
        read(path)


def test_odd_columns_of_parquet_become_text(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    year = 365 * 86_400
    day = datetime.date(2021, 3, 4)
    columns = {
        "2021-03-04 05:06:07": pa.array([datetime.datetime(2021, 3, 4, 5, 6, 7)]),
        "1970-01-01 00:00:00.000000001": pa.array([1], pa.timestamp("ns")),
        "1970-01-01 00:00:00.500000": pa.array([500], pa.timestamp("ms")),
        "11968-05-11 00:00:00": pa.array([10_005 * year], pa.timestamp("s")),
        "1970-01-01 00:00:01+00:00": pa.array([1], pa.timestamp("s", "UTC")),
        "1970-01-01 00:00:02": pa.array([2], pa.timestamp("s", "Mars/Olympus")),
        "2021-03-04": pa.array([day]),
        "00:00:00.000007": pa.array([7_000], pa.time64("ns")),
        "0:00:03": pa.array([3_000_000_000], pa.duration("ns")),
        "red": pa.array(["red"]).dictionary_encode(),
        "12.50": pa.array([decimal.Decimal("12.50")]),
        "0.1": pa.array([0.1], pa.float32()),
        "3": pa.array([3.0], pa.float16()),
        "caf\xe9": pa.array(["caf\xe9".encode()]),
        '{"a": 1}': pa.array([{"a": 1}]),
        "true": pa.array([True]),
    }
    from luthier.task.reading.cells import cell_text

    for number, (wanted, column) in enumerate(columns.items()):
        path = parquet(tmp_path / f"{number}.parquet", {"message": column, "queue": ["a"]})
        ((text, _),) = read(path)
        shown = cell_text(text, where="here")
        assert shown == wanted


def labelled(folder: Path, labels: list[str], *extra: str) -> Task:
    """Sixty rows whose labels go round, written and read back."""
    return Task.load(task_file(folder, rows(labels=labels), *extra))


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        (["1", "1.0", "2", "0"], ("0", "1", "2")),
        (["-1", "-1.00", "3"], ("-1", "3")),
        (["1,0", "1", "0"], ("0", "1")),
        (["1.0", "2.0", "3.0"], ("1.0", "2.0", "3.0")),
        (["1.5", "1", "2.50"], ("1", "1.5", "2.50")),
        (["1", "1,000", "100"], ("1", "1,000", "100")),
        (["1", "1.000", "10"], ("1", "1.000", "10")),
    ],
)
def test_one_number_in_two_spellings(
    tmp_path: Path, labels: list[str], wanted: tuple[str, ...]
) -> None:
    task = labelled(tmp_path, labels)
    assert task.labels == wanted
    assert any("same number" in n for n in task.notes) == (len(wanted) < len(labels))


@pytest.mark.parametrize(
    ("declared", "labels"),
    [
        ("[1, 2, 3]", ["1.0", "2.0", "3.0"]),
        ("[1.0, 2.0]", ["1", "2"]),
        ("[0, 1]", ["0.0", "1"]),
        ("[-1, 1]", ["-1.0", "1.0"]),
        ("['1', '10']", ["1.0", "10.0"]),
    ],
)
def test_declared_numbers_are_found_in_other_spellings(
    tmp_path: Path, declared: str, labels: list[str]
) -> None:
    task = labelled(tmp_path, labels, f"labels: {declared}")
    assert all(task.train.count(e) == 1 and e.target in task.labels for e in task.train)


@pytest.mark.parametrize(
    "label", ["007", "12:30", "1.10", "0x1F", "1e3", "08", "1_000", "+5", "2021-03-04", "0o17"]
)
def test_labels_of_yaml_stay_as_they_are_written(tmp_path: Path, label: str) -> None:
    task = labelled(tmp_path, [label, "other"], f"labels: [{label}, other]")
    assert task.labels == (label, "other")
    assert sum(e.target == label for e in task.train) == 18
    task = labelled(tmp_path, [label, "other"], f"rename: {{other: {label}x, {label}: code}}")
    assert "code" in task.labels


def test_numbers_of_yaml_are_still_numbers(tmp_path: Path) -> None:
    schema = "schema: {type: object, properties: {n: {type: number, minimum: 1_0}}}"
    task = Task.load(
        task_file(
            tmp_path,
            [{**r, "queue": json.dumps({"n": 10 + n})} for n, r in enumerate(rows())],
            "kind: extract", schema, "limit: 50", "split: {train: .5, dev: 25e-2, test: 0.25}",
        )
    )  # fmt: skip
    assert len(task.train) == 24
    assert type(task.schema["properties"]["n"]["minimum"]) is int  # type: ignore[index]


@pytest.mark.parametrize("word", ["café", "Ångström", "naïve résumé", "Việt", "が", "한국"])
@pytest.mark.parametrize("listed", [False, True])
def test_normal_forms_are_one_label(tmp_path: Path, word: str, listed: bool) -> None:
    decomposed = unicodedata.normalize("NFD", word)
    assert decomposed != word
    some = [{**r, "queue": [word, decomposed, "z"][n % 3]} for n, r in enumerate(rows())]
    task = Task.load(task_file(tmp_path, some, *([f"labels: [{decomposed}, z]"] * listed)))
    assert set(task.labels) == {word, "z"}
    assert task.notes == ()


def test_normal_forms_of_columns_are_one_name(tmp_path: Path) -> None:
    column = unicodedata.normalize("NFD", "catégorie")
    for name in ("rows.csv", "rows.jsonl", "rows.json"):
        some = [{"message": r["message"], column: r["queue"]} for r in rows()]
        text = {
            "rows.csv": "\n".join([",".join(some[0]), *(",".join(r.values()) for r in some)]),
            "rows.jsonl": "\n".join(map(json.dumps, some)),
            "rows.json": json.dumps(some),
        }[name]
        (tmp_path / name).write_text(text, "utf-8")
        assert Task.load(write_task(tmp_path, "target: catégorie", data=name)).labels


@pytest.mark.parametrize(
    ("labels", "rename"),
    [
        (["Refund", "refund", "other", "refund"], "rename: {Refund: refund}"),
        (["card arrival", "card  arrival", "card arrival", "x"],
         'rename: {"card  arrival": card arrival}'),
        (["card arrival", "card\xa0arrival", "card arrival", "x"],
         'rename: {"card\\u00a0arrival": card arrival}'),
        (["card_arrival", "card-arrival", "card_arrival", "x"],
         "rename: {card-arrival: card_arrival}"),
        (["yes", "Yes.", "yes", "no"], "rename: {Yes.: \"yes\"}"),
        (["true", "True", "false", "true"], 'rename: {"True": "true"}'),
        (["re\u200bfund", "refund", "refund", "x"], 'rename: {"re\\u200bfund": refund}'),
        (["ＡＢ", "AB", "AB", "x"], 'rename: {ＡＢ: AB}'),
        (["1,000", "1000", "1000", "x"], 'rename: {"1,000": "1000"}'),
        (["1,5", "1.5", "1.5", "x"], 'rename: {"1,5": "1.5"}'),
        (["007", "7", "7", "x"], 'rename: {"007": "7"}'),
    ],
)  # fmt: skip
def test_labels_that_differ_in_spelling_are_told_and_joined(
    tmp_path: Path, labels: list[str], rename: str
) -> None:
    task = labelled(tmp_path, labels)
    assert len(task.labels) == 3
    (note,) = (n for n in task.notes if "differ in case" in n)
    assert f"`{rename}`" in note
    task = labelled(tmp_path, labels, rename)
    assert len(task.labels) == 2
    assert not any("differ in case" in n for n in task.notes)


@pytest.mark.parametrize(
    "labels",
    [["C", "C++", "C#"], ["-1", "1", "0"], ["O+", "O-", "O"], ["😀", "😡"], ["+", "-", "="],
     ["café", "cafe"], ["1", "1,000"], ["1.5", "15"], ["a.b", "ab"]],
)  # fmt: skip
def test_labels_that_only_look_alike_are_not_told(tmp_path: Path, labels: list[str]) -> None:
    task = labelled(tmp_path, labels)
    assert not any("differ in case" in n for n in task.notes)
    assert set(task.labels) == set(labels)


def test_an_unknown_label_names_the_rename(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"rename: \{Refund: refund\}"):
        labelled(tmp_path, ["Refund", "other"], "labels: [refund, other]")


@pytest.mark.parametrize("word", ["NA", "N/A", "None", "null", "-"])
def test_words_for_nothing_are_told(tmp_path: Path, word: str) -> None:
    task = labelled(tmp_path, ["a", "b", word])
    assert word in task.labels
    (note,) = (n for n in task.notes if "stands for a missing one" in n)
    rename = note.split("`")[1]
    task = labelled(tmp_path, ["a", "b", word], rename, "skip_empty: true")
    assert task.labels == ("a", "b")
    assert any(n.startswith("Left out: 20 rows") for n in task.notes)


OPENAI = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"},
          {"role": "assistant", "content": "Hello"},
          {"role": "user", "content": "Bye"}]  # fmt: skip
SAID = "System: Be kind.\nUser: Hi\nAssistant: Hello\nUser: Bye"


@pytest.mark.parametrize(
    "cell",
    [
        OPENAI,
        tuple(OPENAI),
        {"messages": OPENAI},
        {"id": 3, "conversations": OPENAI},
        json.dumps(OPENAI),
        [{"from": {"user": "human", "assistant": "gpt"}.get(m["role"], m["role"]),
          "value": m["content"]} for m in OPENAI],
        [{**m, "content": [{"type": "text", "text": m["content"]}]} for m in OPENAI],
        [{**m, "content": [m["content"]]} for m in OPENAI],
        [{"role": m["role"].replace("assistant", "model"), "parts": [{"text": m["content"]}]}
         for m in OPENAI],
        [{"speaker": m["role"], "utterance": m["content"]} for m in OPENAI],
    ],
)  # fmt: skip
def test_dialogues_of_every_form_read_alike(cell: object) -> None:
    from luthier.task.reading.cells import cell_text

    assert cell_text(cell, where="here") == SAID


def test_parts_that_are_no_text_are_named() -> None:
    from luthier.task.reading.cells import cell_text

    cell = [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:..."}},
                                     {"type": "text", "text": "What is it?"}]},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "1", "function": {"name": "look", "arguments": '{"at": 1}'}}]},
        {"role": "tool", "content": "a cat"},
    ]  # fmt: skip
    said = 'User: [image]\nWhat is it?\nAssistant: look({"at": 1})\nTool: a cat'
    assert cell_text(cell, where="here") == said


def test_a_target_that_looks_like_a_dialogue_stays_json(tmp_path: Path) -> None:
    target = json.dumps([{"role": "manager", "text": "Ann"}, {"from": "Rome", "value": "x"}])
    some = [{**r, "queue": target.replace("Ann", f"Ann{n}")} for n, r in enumerate(rows())]
    task = Task.load(task_file(tmp_path, some, "kind: extract"))
    assert all(json.loads(e.target) for e in task.train)


def test_the_answer_of_a_dialogue_is_not_its_question(tmp_path: Path) -> None:
    some = [
        {"messages": [{"role": "user", "content": r["message"]},
                      {"role": "assistant", "content": f"about {r['message']}"}],
         "answer": f"about {r['message']}"}
        for r in rows()
    ]  # fmt: skip
    one = {"input": "messages", "target": "messages", "kind": "chat", "instruction": "Answer."}
    for columns in (one, {**one, "target": "answer"}):
        task = Task.from_examples(some, **columns)
        assert all(e.input.startswith("User: ") and "about" not in e.input for e in task.train)
        assert all(e.target.startswith("about ") for e in task.train)
    assert any("ended with the answer" in n for n in task.notes)
    with pytest.raises(TaskError, match="both name 'answer'"):
        Task.from_examples(some, **{**one, "input": "answer", "target": "answer"})


def test_an_input_that_ends_with_its_answer_is_told() -> None:
    some = [{"input": f"Q{n}: {r['message']} A: {r['message']}!", "target": f"{r['message']}!"}
            for n, r in enumerate(rows())]  # fmt: skip
    task = Task.from_examples(some, instruction="Answer.", kind="generate")
    assert any("ends with the answer" in note for note in task.notes)


def test_groups_in_two_normal_forms_are_one(tmp_path: Path) -> None:
    names = ("é", unicodedata.normalize("NFD", "é"), "b", "c", "d", "e", "f", "g", "h", "i")
    some = [{**r, "customer": names[n % 10]} for n, r in enumerate(rows(100))]
    task = Task.load(task_file(tmp_path, some, "group: customer"))
    parts = [{e.group for e in task.examples(p)} for p in ("train", "dev", "test")]
    assert not parts[0] & parts[1] | parts[0] & parts[2] | parts[1] & parts[2]
    assert set.union(*parts) == {"é", *"bcdefghi"}


@pytest.mark.parametrize(
    ("one", "other", "conflicts"),
    [
        ("please reply to {}", "PLEASE REPLY TO {}", 0),
        ("x² plus {}", "x2 plus {}", 0),
        ("Ｗide {}", "Wide {}", 0),
        ("caf\xe9 number {}", "cafe\u0301 number {}", 30),
        ("two words {}", "two  words {}", 30),
        ("same {}", "same {}", 30),
    ],
)
def test_inputs_that_case_or_width_tells_apart_are_no_contradiction(
    one: str, other: str, conflicts: int
) -> None:
    some = [
        (text.format(n), label) for n in range(30) for text, label in ((one, "a"), (other, "b"))
    ]
    task = Task.from_examples(some, instruction="Choose.")
    assert task.leaks.conflicting == conflicts
