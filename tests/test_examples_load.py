"""Every file in examples/ loads; those whose data is not shipped are skipped where it is not there.

The data folder is $LUTHIER_DATA, or ../shared/data beside the repository.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from luthier.models.prompt import render
from luthier.task.reading.python_function import load_function
from luthier.task.task import Task
from luthier.techniques.search.variants import instruction_variants

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
# What each example needs from the data folder, and what is known of it.
EXPECTED = {
    "author-style": ("tinyshakespeare", "generate", 0, 800),
    "brand-assistant": ("", "chat", 0, 60),
    "call-recordings": ("", "classify", 4, 30),
    "call-summaries": ("mts-dialog", "generate", 0, 1400),
    "docstrings": ("", "classify", 8, 600),
    "headlines": ("sentfin", "classify", 3, 7000),
    "intents": ("banking77", "classify", 77, 12000),
    "marketing-mail": ("", "generate", 0, 20),
    "pre-diagnosis": ("", "classify", 8, 80),
    "routing": ("", "classify", 8, 600),
    "sentiment": ("sst2", "classify", 2, 9000),
    "xquad": ("xquad-en", "question-answering", 0, 1100),
    "xquad-given": ("xquad-en", "question-answering", 0, 1100),
}


def data_folder() -> Path:
    return Path(os.environ.get("LUTHIER_DATA") or ROOT.parent / "shared" / "data")


def needs_voice(example: str) -> None:
    if example == "call-recordings" and shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng speaks the calls: apt install espeak-ng")


def needs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = data_folder() / name
    if name and not wanted.is_dir():
        pytest.skip(f"no {wanted}: set LUTHIER_DATA to a folder that holds {name}")
    monkeypatch.setenv("LUTHIER_DATA", str(data_folder()))
    monkeypatch.setenv("LUTHIER_ALLOW_CODE", "1")  # the rows of some come from prepare.py


def test_every_example_is_expected() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.yaml")} == set(EXPECTED)


# Transcribing takes a minute.
SLOW = {"call-recordings"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in sorted(EXPECTED)],
)
def test_an_example_loads(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data, kind, labels, fewest = EXPECTED[name]
    needs(data, monkeypatch)
    needs_voice(name)
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


def test_what_must_never_be_advised_stands_in_every_prompt() -> None:
    task = Task.load(EXAMPLES / "pre-diagnosis.yaml")
    said = render(task.base_prompt(), task.train[0].input).text
    assert "Never advise a medicine or a dose" in said
    assert "in doubt choose seek-help-now" in said
    counts = Counter(e.target for e in (*task.train, *task.dev, *task.test))
    assert counts["seek-help-now"] >= max(counts.values()) - 1


def test_a_search_varies_the_parts_of_a_mail_one_by_one() -> None:
    task = Task.load(EXAMPLES / "marketing-mail.yaml")
    prompt = task.base_prompt()
    assert prompt.context
    assert prompt.objective
    changed = {v.part: v.prompt for v in instruction_variants(prompt, task)}
    assert {"instruction", "context", "objective"} <= set(changed)
    assert replace(changed["context"], context=prompt.context) == prompt
    assert replace(changed["objective"], objective=prompt.objective) == prompt
