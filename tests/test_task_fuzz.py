"""Whatever the files hold, the loader gives a Task or a TaskError."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from luthier import registry
from luthier.errors import TaskError
from luthier.models.prompt import render
from luthier.task.read_spec import KEYS, KINDS
from luthier.task.task import Task
from tests.task_rows import rows, write_csv, write_task

FUZZ = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
TEXT = st.text(max_size=30)
PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    TEXT,
    st.sampled_from(
        [*KINDS, *registry.names("scorers"), "message", "queue", "rows.csv", "true", "utf-16"]
    ),
)
ANYTHING = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(TEXT | st.integers(), inner, max_size=4)
    ),
    max_leaves=8,
)


def load(folder: Path) -> None:
    """Load, and use what came out: it must be whole."""
    try:
        task = Task.load(folder / "task.yaml")
    except TaskError:
        return
    assert task.train
    assert task.dev
    assert task.test
    assert len(task.fingerprint) == 64
    assert render(task.base_prompt(), task.train[0].input).text
    task.base_decoding()
    for e in (*task.train, *task.dev, *task.test):
        assert e.input.strip()
        assert e.target.strip()
        e.input.encode()
        assert not task.labels or e.target in task.labels


@FUZZ
@given(
    content=st.binary(max_size=300),
    name=st.sampled_from(["rows.csv", "rows.tsv", "rows.json", "rows.jsonl"]),
)
@example(content=b"message,queue\n\x00,\x00\n", name="rows.csv")
@example(content=b"\xff\xfe", name="rows.json")
def test_random_bytes_as_data(content: bytes, name: str) -> None:
    with tempfile.TemporaryDirectory() as where:
        folder = Path(where)
        (folder / name).write_bytes(b"message,queue\n" + content if name == "rows.csv" else content)
        write_task(folder, data=name)
        load(folder)


@FUZZ
@given(content=st.binary(max_size=200))
def test_random_bytes_as_task_file(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as where:
        (Path(where) / "task.yaml").write_bytes(content)
        load(Path(where))


@FUZZ
@given(text=st.text(alphabet="ab:-[]{}&*!|>%@`'\"\n\t #?,0~=<", max_size=60))
def test_random_yaml(text: str) -> None:
    with tempfile.TemporaryDirectory() as where:
        (Path(where) / "task.yaml").write_text(text, "utf-8")
        load(Path(where))


@FUZZ
@given(
    cells=st.lists(
        st.tuples(TEXT, st.sampled_from(["a", "b", "", "nan", "\U0001f600"]) | TEXT),
        min_size=18,
        max_size=40,
    ),
    keys=st.sampled_from(
        [
            [],
            ["skip_empty: true"],
            ["kind: chat", "skip_empty: true"],
            ["leaks: keep", "skip_empty: true"],
        ]
    ),
)
def test_random_cells(cells: list[tuple[str, str]], keys: list[str]) -> None:
    written = io.StringIO()
    csv.writer(written).writerows([("message", "queue"), *cells])
    with tempfile.TemporaryDirectory() as where:
        folder = Path(where)
        (folder / "rows.csv").write_bytes(written.getvalue().encode("utf-8", "surrogatepass"))
        write_task(folder, *keys)
        load(folder)


@FUZZ
@given(
    some=st.lists(
        st.fixed_dictionaries({"message": ANYTHING, "queue": PLAIN}) | ANYTHING, max_size=30
    )
)
def test_random_json(some: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as where:
        folder = Path(where)
        (folder / "rows.json").write_text(json.dumps(some))
        write_task(folder, "skip_empty: true", data="rows.json")
        load(folder)


@settings(FUZZ, max_examples=100)
@given(keys=st.dictionaries(st.sampled_from(KEYS) | TEXT, ANYTHING, max_size=4))
@example(keys={"data": "~nobody-here/x.csv"})
@example(keys={"knowledge": ["a\0b"]})
@example(keys={"schema": {"$ref": "http://nowhere.invalid/x"}, "kind": "extract"})
@example(keys={"schema": {"pattern": "("}, "kind": "extract"})
def test_random_values_of_keys(keys: dict[str, Any]) -> None:
    whole = {
        "instruction": "Choose.",
        "data": "rows.csv",
        "input": "message",
        "target": "queue",
        **keys,
    }
    if str(whole["data"]).startswith("hub:"):
        return
    with tempfile.TemporaryDirectory() as where:
        folder = Path(where)
        write_csv(folder / "rows.csv", rows(24))
        (folder / "task.yaml").write_bytes(
            yaml.safe_dump(whole, allow_unicode=False).encode("utf-8", "replace")
        )
        load(folder)
