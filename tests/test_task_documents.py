"""The documents of a task: its own data is none of them, and copies of its test split are found."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

import luthier
from luthier.errors import TaskError
from luthier.models.fake import FakeBackend
from luthier.models.model import Model
from luthier.report import terminal_table
from luthier.report.sections.facts import leak_sentences
from luthier.task.document_leaks import document_leaks

COLOURS = ("amber", "birch", "coral", "delft")


def codes(folder: Path, **more: Any) -> Path:
    """A task of random codes, its data among its documents: only a look-up could answer it."""
    dice = random.Random(0)
    docs = folder / "docs"
    docs.mkdir()
    rows = [
        {"code": f"what colour is {dice.getrandbits(48):012x}", "colour": dice.choice(COLOURS)}
        for _ in range(200)
    ]
    (docs / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows), "utf-8")
    (docs / "guide.md").write_text("# Colours\n\nEvery code has one of four colours.\n", "utf-8")
    (folder / "codes.yaml").write_text(
        "name: codes\ninstruction: Name the colour.\ndata: docs/rows.jsonl\ninput: code\n"
        "target: colour\nknowledge: docs/**\n",
        "utf-8",
    )
    return folder / "codes.yaml"


def copying(prompt: str) -> str:
    """A reader that answers with the colour that follows its question in the passages."""
    question = prompt.rstrip().splitlines()[-2].split(": ", 1)[-1]
    after = prompt.split(question, 1)[1]
    return min(COLOURS, key=lambda c: after.find(c) if c in after else len(after))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "cache"))


def compare(task: Path, out: Path) -> luthier.Comparison:
    return luthier.compare(
        task, Model(FakeBackend(copying)), techniques="rag(mode=lexical)", budget="2Mtok", out=out
    )


def test_the_data_of_a_task_is_no_document(tmp_path: Path) -> None:
    task = luthier.Task.load(codes(tmp_path))
    assert any("rows.jsonl" in note and "not indexed" in note for note in task.notes)
    found = document_leaks(task)
    assert found is not None
    assert (found.found, found.read, found.documents) == (0, 1, 1)
    result = compare(tmp_path / "codes.yaml", tmp_path / "run").results[0]
    assert result.score.value is not None
    assert result.score.value < 0.45, "four colours: chance"


def test_a_copy_of_the_data_is_found_counted_and_reported(tmp_path: Path) -> None:
    file = codes(tmp_path)
    rows = (tmp_path / "docs" / "rows.jsonl").read_text("utf-8")
    (tmp_path / "docs" / "dump.txt").write_text(rows, "utf-8")
    task = luthier.Task.load(file)
    found = document_leaks(task)
    assert found is not None
    assert found.found == found.test_examples == len(task.test)
    assert found.sources == ("docs/dump.txt",)
    comparison = compare(file, tmp_path / "run")
    assert comparison.to_json()["leaks"]["documents"]["found"] == len(task.test)
    assert any("docs/dump.txt" in note for note in comparison.to_json()["notes"])
    assert any("stood in the documents" in s for s in leak_sentences(comparison.task.leaks))
    from rich.console import Console

    console = Console(width=200, record=True, file=None, quiet=False)
    with console.capture() as said:
        console.print(terminal_table(comparison))
    assert "together with their answers" in said.get()


@pytest.mark.parametrize(
    ("text", "leaks"),
    [
        ("Q: What colour is {code}? A: {colour}", True),
        ('{{"colour": "{colour}", "code": "what colour\\n is {code}"}}', True),
        ("What colour is\n{code}\n\n| {colour} |", True),
        ("What colour is {code}?" + " word" * 60 + " {colour}", False),
        ("{code} {colour}", False),
        ("what colour is 000000000000 {colour}", False),
    ],
)
def test_an_input_counts_with_its_answer_beside_it(tmp_path: Path, text: str, leaks: bool) -> None:
    task = luthier.Task.load(codes(tmp_path))
    example = task.test[0]
    code = example.text.split()[-1]
    (tmp_path / "docs" / "page.txt").write_text(
        text.format(code=code, colour=example.target), "utf-8"
    )
    found = document_leaks(task)
    assert found is not None
    assert found.found == int(leaks)


def test_documents_that_are_only_the_data_are_refused(tmp_path: Path) -> None:
    file = codes(tmp_path)
    (tmp_path / "docs" / "guide.md").unlink()
    with pytest.raises(TaskError, match="which is no document"):
        luthier.Task.load(file)


def test_a_link_to_the_data_is_no_document_either(tmp_path: Path) -> None:
    file = codes(tmp_path)
    (tmp_path / "docs" / "again.jsonl").symlink_to(tmp_path / "docs" / "rows.jsonl")
    found = document_leaks(luthier.Task.load(file))
    assert found is not None
    assert (found.found, found.documents) == (0, 1)


def test_bundled_documents_hold_no_test_questions() -> None:
    found = document_leaks(luthier.Task.load("pydoc"))
    assert found is not None
    assert found.read == found.documents > 100
    assert found.found == 0
