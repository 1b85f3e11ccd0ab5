"""Every file in examples/ loads; those whose data is not shipped are skipped where it is not there.

The data folder is $LUTHIER_DATA, or ../shared/data beside the repository.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from luthier.models.prompt import render
from luthier.task.reading.python_function import load_function
from luthier.task.task import Task

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
# What each example needs from the data folder, and what is known of it.
EXPECTED = {
    "author-style": ("tinyshakespeare", "generate", 0, 800),
    "brand-assistant": ("", "chat", 0, 60),
    "call-summaries": ("mts-dialog", "generate", 0, 1400),
    "docstrings": ("", "classify", 8, 600),
    "headlines": ("sentfin", "classify", 3, 7000),
    "intents": ("banking77", "classify", 77, 12000),
    "routing": ("", "classify", 8, 600),
    "sentiment": ("sst2", "classify", 2, 9000),
    "xquad": ("xquad-en", "question-answering", 0, 1100),
    "xquad-given": ("xquad-en", "question-answering", 0, 1100),
}


def data_folder() -> Path:
    return Path(os.environ.get("LUTHIER_DATA") or ROOT.parent / "shared" / "data")


def needs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = data_folder() / name
    if name and not wanted.is_dir():
        pytest.skip(f"no {wanted}: set LUTHIER_DATA to a folder that holds {name}")
    monkeypatch.setenv("LUTHIER_DATA", str(data_folder()))


def test_every_example_is_expected() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.yaml")} == set(EXPECTED)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_an_example_loads(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data, kind, labels, fewest = EXPECTED[name]
    needs(data, monkeypatch)
    task = Task.load(EXAMPLES / f"{name}.yaml")
    assert task.name == name
    assert (str(task.kind), len(task.labels)) == (kind, labels)
    assert len(task.train) + len(task.dev) + len(task.test) >= fewest
    assert render(task.base_prompt(), task.train[0].input).text.startswith(task.instruction)


@pytest.mark.parametrize("name", ["routing", "docstrings"])
def test_the_bundled_examples_are_the_bundled_tasks(name: str) -> None:
    assert Task.load(EXAMPLES / f"{name}.yaml").fingerprint == Task.load(name).fingerprint


def test_the_brand_never_loses_its_voice() -> None:
    task = Task.load(EXAMPLES / "brand-assistant.yaml")
    for e in (*task.train, *task.dev, *task.test):
        assert e.target.endswith("Go well, Fernhollow.")
        assert "!" not in e.target


def test_the_author_is_told_from_plain_english(monkeypatch: pytest.MonkeyPatch) -> None:
    needs("tinyshakespeare", monkeypatch)
    score = load_function(f"{EXAMPLES / 'prepare.py'}:reads_like_the_author")
    assert score("Thou art a villain, and thy heart is false as hell, my lord", "") > 0.7
    assert score("Please send the invoice again, the link in your email has expired", "") < 0.3
