"""`luthier probe`: what it prints, what it keeps, and what it refuses before anything loads."""

from __future__ import annotations

import json

import pytest

from luthier.cli.main import run
from luthier.compare.met_test_sets import met_test_sets
from luthier.compare.subject import BaseFacts, TaskFacts
from luthier.context import WorkContext, working
from luthier.errors import UserError
from luthier.models.backend import ModelFacts
from luthier.models.load import load
from luthier.probe.probe_request import PARTS, ProbeRequest
from luthier.probe.run_probe import run_probe, wanted_parts
from luthier.probe.saved_findings import kept_findings

TEXT = "The lamp was found in a barn. Nora took it home. It stood in the hall for years. "


@pytest.fixture
def documents(tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.md").write_text(f"# Part {number}\n\n{TEXT * 3}")
    return str(folder)


def test_the_parts_are_those_that_there_is_data_for(documents, tmp_path):
    assert wanted_parts(ProbeRequest()) == ("skills",)
    assert wanted_parts(ProbeRequest(on=(documents,))) == ("familiarity", "skills")
    both = ProbeRequest(on=(documents,), corpus=(documents,))
    assert wanted_parts(both) == ("familiarity", "traces", "skills")
    answers = tmp_path / "a.jsonl"
    answers.write_text('{"answer": "yes"}')
    assert wanted_parts(ProbeRequest(on=(str(answers),))) == ("traces", "skills")
    with pytest.raises(UserError, match="'contamination' of a probe needs a task"):
        wanted_parts(ProbeRequest(parts=("contamination",)))
    with pytest.raises(UserError, match="no part 'skill'") as caught:
        ProbeRequest(parts=("skill",))
    assert caught.value.choices == PARTS


def test_a_probe_prints_keeps_and_writes_its_page(documents, tmp_path, capsys):
    command = ["probe", "fake", "--on", documents, "--part", "familiarity",
               "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "page.html")]  # fmt: skip
    assert run(command) == 0
    printed = capsys.readouterr()
    assert "How familiar are the documents?" in printed.out
    assert "Read: all" in printed.out
    assert "The page:" in printed.err
    ((_, found),) = kept_findings(tmp_path / "runs")
    assert found.base == "fake"
    assert len(found.documents) == 3
    assert "<h3>Document by document</h3>" in (tmp_path / "page.html").read_text()


def test_json_is_one_object(documents, tmp_path, capsys):
    command = ["probe", "fake", "--on", documents, "--part", "familiarity", "--json",
               "--runs", str(tmp_path)]  # fmt: skip
    assert run(command) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["familiarity"]["documents_of"] == 3
    assert found["skills"] is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["probe"], "no base is named"),
        (["probe", "nanno"], "nano"),
        (["probe", "fake", "--on", "EMPTY"], "no documents"),
        (["probe", "fake", "--part", "traces"], "needs a corpus"),
        (["probe", "fake", "--part", "nothing"], "no part 'nothing'"),
        (["probe", "fake", "--tokens", "0"], "tokens must be at least 1"),
    ],
)
def test_bad_input_is_told_with_code_2(arguments, words, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    arguments = [str(tmp_path / "empty") if a == "EMPTY" else a for a in arguments]
    assert run([*arguments, "--runs", str(tmp_path)]) == 2
    assert words in capsys.readouterr().err


def test_documents_that_cannot_be_read_are_named(documents, tmp_path):
    (tmp_path / "docs" / "bad.pdf").write_bytes(b"no pdf")
    request = ProbeRequest(on=(documents,), parts=("familiarity",))
    found = run_probe(load("fake"), request)
    assert any("bad.pdf" in reason for reason in found.unread)
    only = tmp_path / "only"
    only.mkdir()
    (only / "bad.pdf").write_bytes(b"no pdf")
    with pytest.raises(UserError, match="None of the documents could be read"):
        run_probe(load("fake"), ProbeRequest(on=(str(only),), parts=("familiarity",)))


def test_progress_never_falls(documents):
    seen: list[float] = []

    def note(done: float, total: float, message: str) -> None:
        seen.append(done / total)

    with working(WorkContext(progress=note)):
        run_probe(load("fake"), ProbeRequest(on=(documents,), parts=("familiarity",)))
    assert len(seen) > 1
    assert seen == sorted(seen)
    assert seen[-1] <= 1.0


def test_a_comparison_says_which_base_has_met_its_test_set(tmp_path):
    from luthier.probe.saved_findings import keep_findings
    from tests.test_probe_page import WHOLE

    keep_findings(WHOLE, tmp_path)
    task = TaskFacts("routing", "classify", "t" * 64, "", (), "accuracy", 1, 1, 1)
    bases = [
        BaseFacts(name, mark * 64, ModelFacts(), (), short=name)
        for name, mark in (("nano", "f"), ("other", "g"))
    ]
    assert met_test_sets(str(tmp_path / "run"), task, bases) == {"nano": "found"}
    assert met_test_sets(None, task, bases) == {}
