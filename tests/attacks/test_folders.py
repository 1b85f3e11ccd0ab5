"""A path out of a file stays inside its folder, and what a user put there is never deleted."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

import luthier
from luthier.cli.main import run
from luthier.errors import StorageError, UserError
from luthier.ledger.artifacts import Artifacts, copy_folder
from luthier.ledger.written_files import SUMS_FILE, write_sums
from luthier.models.fake import FakeBackend
from luthier.models.model import Model
from luthier.retrieval import IndexSettings, build_index, open_index
from luthier.safety.inside import inside, inside_by_name

OUTSIDE = ["../victim", "..", ".", "", "/etc/victim", "a/../../victim", "C:\\victim", "a\\..\\b",
           "nul\0", "link/victim"]  # fmt: skip


@pytest.mark.parametrize("name", OUTSIDE)
def test_no_name_leads_out(tmp_path, name):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path)
    for check in (inside, inside_by_name):
        with pytest.raises(StorageError, match="no place inside"):
            check(tmp_path / "in", name, found_in="it")
    assert inside(tmp_path / "in", "a/b", found_in="it") == tmp_path / "in" / "a" / "b"
    with pytest.raises(StorageError):
        inside_by_name(tmp_path / "in", "a/b", found_in="it")


@pytest.fixture
def compared(tmp_path, monkeypatch):
    """The task file and the run folder of a small comparison, beside a folder of the user."""
    monkeypatch.chdir(tmp_path)
    words = ("win money now", "lunch at noon")
    rows = "\n".join(
        f'"message {i} {words[i % 2]} {i % 7}",{("spam", "ham")[i % 2]}' for i in range(120)
    )
    (tmp_path / "rows.csv").write_text("q,a\n" + rows)
    task = tmp_path / "t.yaml"
    task.write_text(
        "instruction: Which?\ndata: rows.csv\ninput: q\ntarget: a\nlabels: [spam, ham]\n"
    )
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "note.txt").write_text("mine")
    assert again(task) == 0
    return task, tmp_path / "out"


def again(task):
    return run(["compare", str(task), "--model", "fake", "--techniques", "zero-shot,few-shot",
                "--budget", "20ktok", "--seeds", "1", "--out", "out", "--yes",
                "--embedder", "none"])  # fmt: skip


def everything(folder: Path):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("name", ["../victim", "/etc", "..", "a/../../victim"])
def test_a_ledger_leads_to_no_other_folder(compared, tmp_path, capsys, name):
    task, out = compared
    with sqlite3.connect(out / "ledger.sqlite") as db:
        plan = json.loads(db.execute("SELECT plan FROM comparisons").fetchone()[0])
        plan["techniques"][1]["slug"] = name
        db.execute("UPDATE comparisons SET plan = ?", (json.dumps(plan),))
    db.close()
    for command in (lambda: again(task), lambda: run(["report", "out"]),
                    lambda: run(["ask", "out", "hello"])):  # fmt: skip
        assert command() == 1
        assert "no place inside" in capsys.readouterr().err
    assert (tmp_path / "victim" / "note.txt").read_text() == "mine"


def test_neither_does_the_place_of_a_result(compared, tmp_path, capsys):
    task, out = compared
    with sqlite3.connect(out / "ledger.sqlite") as db:
        for key, result in db.execute("SELECT key, result FROM runs").fetchall():
            changed = json.loads(result) | {"path": "../victim"}
            db.execute("UPDATE runs SET result = ? WHERE key = ?", (json.dumps(changed), key))
    db.close()
    assert again(task) == 1
    assert "no place inside" in capsys.readouterr().err
    assert (tmp_path / "victim" / "note.txt").read_text() == "mine"


@pytest.mark.parametrize("digest", ["../../victim", "", "ab", "/etc", "A" * 64])
def test_no_hash_leads_out_of_the_artifacts(tmp_path, digest):
    for ask in (Artifacts(tmp_path).path, Artifacts(tmp_path).verify, Artifacts(tmp_path).discard):
        with pytest.raises(StorageError, match="no hash"):
            ask(digest)
    assert Artifacts(tmp_path).has(digest) is False


def test_the_graph_of_an_index_leads_nowhere(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_text("Quist is mayor.")
    (tmp_path / "victim.faiss").write_text("mine")
    build_index([tmp_path / "docs"], tmp_path / "index", settings=IndexSettings(embedder="none"))
    with sqlite3.connect(tmp_path / "index" / "index.sqlite") as db:
        db.execute("INSERT INTO facts VALUES ('graph', ?)",
                   (json.dumps(["../victim.faiss", 1, 1]),))  # fmt: skip
    db.close()
    (tmp_path / "docs" / "b.txt").write_text("More.")
    with pytest.raises(StorageError, match="graph"):
        build_index([tmp_path / "docs"], tmp_path / "index",
                    settings=IndexSettings(embedder="none"))  # fmt: skip
    assert (tmp_path / "victim.faiss").read_text() == "mine"
    open_index(tmp_path / "index").search(["mayor"], luthier_search())


def luthier_search():
    from luthier.retrieval import SearchSettings

    return SearchSettings(mode="lexical")


def put_there(folder, what):
    """Put something of a user's own into a folder that Luthier wrote."""
    path = {
        "note": folder / "note.txt",
        "git": folder / ".git" / "HEAD",
        "hidden": folder / ".hidden",
        "deep": folder / "adapter" / "more" / "x",
        "edited": folder / "luthier.yaml",
        "unlisted": folder / SUMS_FILE,
    }[what]
    path.parent.mkdir(parents=True, exist_ok=True)
    text = path.read_text() if path.exists() else ""
    path.write_text(text + ("0  note.txt\n" if what == "unlisted" else "# mine\n"))
    if what == "unlisted":
        (folder / "note.txt").write_text("# mine\n")


@pytest.mark.parametrize("what", ["note", "git", "hidden", "deep", "edited", "unlisted"])
def test_a_saved_model_with_something_in_it_is_not_replaced(tmp_path, what):
    model = Model(FakeBackend(lambda _: "yes"))
    folder = model.save(tmp_path / "model")
    model.save(folder)  # what is all ours is replaced
    put_there(folder, what)
    before = everything(tmp_path)
    with pytest.raises(StorageError, match="did not write") as refused:
        model.save(folder)
    assert "another place" in str(refused.value)
    assert everything(tmp_path) == before


def test_a_link_is_replaced_and_its_folder_is_not(tmp_path):
    model = Model(FakeBackend(lambda _: "yes"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "note.txt").write_text("mine")
    (tmp_path / "model").symlink_to(tmp_path / "mine")
    with pytest.raises(StorageError, match="did not write"):
        model.save(tmp_path / "model")
    assert (tmp_path / "mine" / "note.txt").read_text() == "mine"


def artifact(root, name, text):
    folder = root / "artifacts" / name
    (folder / "adapter").mkdir(parents=True)
    (folder / "luthier.yaml").write_text(text)
    write_sums(folder)
    return folder


@pytest.mark.parametrize("what", ["note", "git", "hidden", "deep", "edited"])
def test_a_note_in_the_folder_of_a_technique_stays(tmp_path, what):
    first, second = artifact(tmp_path, "1", "one\n"), artifact(tmp_path, "2", "two\n")
    place = tmp_path / "lora"
    copy_folder(first, place)
    put_there(place, what)
    before = everything(tmp_path)
    if what != "edited":
        copy_folder(first, place)  # nothing is to be replaced
    with pytest.raises(StorageError, match="did not write"):
        copy_folder(second, place)
    assert everything(tmp_path) == before
    place.rename(tmp_path / "moved")
    copy_folder(second, place)
    assert (place / "luthier.yaml").read_text() == "two\n"
    copy_folder(first, place)
    assert (place / "luthier.yaml").read_text() == "one\n"


def test_whoever_edits_the_folder_of_a_technique_edits_no_artifact(compared):
    _, out = compared
    artifacts = Artifacts(out / "artifacts")
    digests = [p.name for p in artifacts.root.glob("??/*")]
    for path in everything(out / "zero-shot"):
        with path.open("ab") as file:
            file.write(b"# mine\n")
    assert digests
    assert all(artifacts.has(digest) for digest in digests)


@pytest.mark.parametrize("name", ["plan.json", "comparison.json", "report.html", "artifacts"])
def test_a_folder_with_files_of_these_names_is_no_run_folder(compared, tmp_path, capsys, name):
    task, _ = compared
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text("mine")
    with pytest.raises(UserError, match="no ledger"):
        luthier.compare(task, "fake", techniques="zero-shot", out=tmp_path / "mine")
    assert (tmp_path / "mine" / name).read_text() == "mine"


def test_a_report_replaces_reports_only(compared, tmp_path, capsys):
    (tmp_path / "thesis.html").write_text("<html>mine</html>")
    assert run(["report", "out", "--out", str(tmp_path / "thesis.html")]) == 1
    assert "did not write" in capsys.readouterr().err
    assert (tmp_path / "thesis.html").read_text() == "<html>mine</html>"
    assert run(["report", "out"]) == 0
