"""`luthier ask` with documents: the answer and its place, or "not in the documents"."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import pytest

from luthier.cli.main import run
from luthier.models.fake import FakeBackend
from luthier.models.model import Model
from tests.knowledge import make_index

QUESTION = "Who is the mayor of Dorma?"


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> object:
    """The fake model, whatever is asked, says this."""

    def set_reply(reply: str) -> None:
        model = Model(FakeBackend(lambda _: reply))
        # The package's own name for the function hides the module of that name.
        monkeypatch.setattr(import_module("luthier.models.load"), "load", lambda *_, **__: model)

    return set_reply


def test_an_answer_comes_with_its_place(
    tmp_path: Path, says: object, capsys: pytest.CaptureFixture[str]
) -> None:
    index = make_index(tmp_path)
    says("Quist")  # type: ignore[operator]
    assert run(["ask", "fake", QUESTION, "--knowledge", str(index)]) == 0
    answer, place = capsys.readouterr().out.splitlines()
    assert answer == "Quist"
    assert place.startswith("[1] ")
    assert "Dorma.txt, characters " in place


def test_what_no_document_bears_out_is_not_an_answer(
    tmp_path: Path, says: object, capsys: pytest.CaptureFixture[str]
) -> None:
    index = make_index(tmp_path)
    says("Napoleon [9]")  # type: ignore[operator]
    assert run(["ask", "fake", QUESTION, "--knowledge", str(index)]) == 0
    out, err = capsys.readouterr()
    assert out == "not in the documents\n"
    assert "Napoleon" in err
    assert "9" in err


def test_json_holds_everything(
    tmp_path: Path, says: object, capsys: pytest.CaptureFixture[str]
) -> None:
    index = make_index(tmp_path)
    says("Quist [1]")  # type: ignore[operator]
    assert run(["ask", "fake", QUESTION, "--knowledge", str(index), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["answer"] == told["said"]
    assert "Quist" in told["answer"]
    assert told["citations"][0]["supports"]
    assert set(told["seconds"]) == {"search", "read"}


def test_a_missing_index_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ask", "fake", QUESTION, "--knowledge", str(tmp_path / "none")]) != 0
    assert "luthier index" in capsys.readouterr().err
