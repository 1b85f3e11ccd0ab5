"""Indexing again: what is not read, what stays, and what goes."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from pathlib import Path

import pytest

from luthier.cli.main import run
from luthier.errors import TaskError
from luthier.retrieval import IndexSettings, SearchSettings, build_index, open_index
from luthier.retrieval.ingest.sources import SourceFile

pytest.importorskip("semantic_text_splitter", reason="needs luthier[rag]")
WORDS = IndexSettings(embedder="none")
LEXICAL = SearchSettings(k=2, mode="lexical")


def _docs(folder: Path, **texts: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.md").write_text(text, "utf-8")
    return folder


def _let_pass(monkeypatch: pytest.MonkeyPatch, seconds: float = 10.0) -> None:
    """Files that are there were written long before now."""
    real = time.time_ns
    monkeypatch.setattr("time.time_ns", lambda: real() + int(seconds * 1e9))


def _reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []
    real = SourceFile.read

    def read(self: SourceFile) -> bytes:
        names.append(self.name)
        return real(self)

    monkeypatch.setattr(SourceFile, "read", read)
    return names


def test_a_file_not_touched_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docs = _docs(tmp_path / "docs", a="Apples.", b="Bears.")
    _let_pass(monkeypatch)
    build_index([docs], tmp_path / "i", settings=WORDS)
    read = _reads(monkeypatch)
    before = (tmp_path / "i" / "index.sqlite").read_bytes()
    assert build_index([docs], tmp_path / "i", settings=WORDS).unchanged == 2
    assert read == []
    assert (tmp_path / "i" / "index.sqlite").read_bytes() == before, "nothing was written"
    (docs / "a.md").write_text("Pears!!", "utf-8")
    assert build_index([docs], tmp_path / "i", settings=WORDS).changed == 1
    assert read == ["docs/a.md"]


def test_an_edit_within_a_tick_of_the_clock_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file keeps its size and its times: only that they are young tells it may have changed."""
    docs = _docs(tmp_path / "docs", a="Apples.")
    build_index([docs], tmp_path / "i", settings=WORDS)
    with sqlite3.connect(tmp_path / "i" / "index.sqlite") as db:
        assert db.execute("SELECT count(*) FROM files WHERE recorded > 0").fetchone() == (1,)
    (docs / "a.md").write_text("Pears!!", "utf-8")
    known = (docs / "a.md").stat()
    with sqlite3.connect(tmp_path / "i" / "index.sqlite") as db:
        db.execute("UPDATE files SET changed = ?, recorded = ?",
                   (known.st_mtime_ns, known.st_ctime_ns))  # fmt: skip
    assert build_index([docs], tmp_path / "i", settings=WORDS).changed == 1


def test_a_time_set_back_hides_no_edit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docs = _docs(tmp_path / "docs", a="Apples.")
    before = (docs / "a.md").stat()
    _let_pass(monkeypatch)
    build_index([docs], tmp_path / "i", settings=WORDS)
    (docs / "a.md").write_text("Pears!!", "utf-8")
    os.utime(docs / "a.md", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert build_index([docs], tmp_path / "i", settings=WORDS).changed == 1


def test_a_touched_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docs = _docs(tmp_path / "docs", a="Apples.")
    build_index([docs], tmp_path / "i", settings=WORDS)  # racy: just written
    _let_pass(monkeypatch)
    read = _reads(monkeypatch)
    for _ in range(2):
        assert build_index([docs], tmp_path / "i", settings=WORDS).unchanged == 1
    assert read == ["docs/a.md"]


def test_documents_of_other_sources_stay_unless_they_are_to_go(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    docs, more = _docs(tmp_path / "docs", a="Apples."), _docs(tmp_path / "more", b="Bears.")
    into = tmp_path / "i"
    build_index([docs], into, settings=WORDS)
    added = build_index([more], into, settings=WORDS)
    assert (added.added, added.removed, added.kept, added.kept_of) == (1, 0, 1, (str(docs),))
    both = open_index(into)
    assert all(both.search(["apples", "bears"], LEXICAL))
    again = build_index([docs, more], into, settings=WORDS)
    assert (again.unchanged, again.kept) == (2, 0)
    assert open_index(into).fingerprint == both.fingerprint
    assert run(["index", str(more), "--into", str(into), "--embedder", "none"]) == 0
    said = capsys.readouterr().err.replace("\n", " ")
    assert "1 of other sources stay" in said
    assert "--replace" in said
    assert run(["index", str(more), "--into", str(into), "--embedder", "none", "--replace"]) == 0
    assert open_index(into).search(["apples", "bears"], LEXICAL)[0] == []


def test_deleted_documents_of_a_named_source_go(tmp_path: Path) -> None:
    docs, more = _docs(tmp_path / "docs", a="Apples.", c="Cats."), _docs(tmp_path / "m", b="Bears.")
    build_index([docs, more], tmp_path / "i", settings=WORDS)
    (docs / "a.md").unlink()
    assert build_index([docs], tmp_path / "i", settings=WORDS).removed == 1
    build_index([docs / "c.md"], tmp_path / "j", settings=WORDS)
    (docs / "c.md").unlink()
    report = build_index([more], tmp_path / "j", settings=WORDS)
    assert (report.removed, report.kept) == (1, 0), "a file that was named itself, and is no more"


def test_a_folder_that_moved_is_the_same_source(tmp_path: Path) -> None:
    docs = _docs(tmp_path / "x" / "docs", a="Apples.", b="Bears.")
    build_index([docs], tmp_path / "i", settings=WORDS)
    (docs / "a.md").unlink()
    shutil.move(tmp_path / "x", tmp_path / "y")
    report = build_index([tmp_path / "y" / "docs"], tmp_path / "i", settings=WORDS)
    assert (report.unchanged, report.removed, report.kept) == (1, 1, 0)


def test_another_folder_of_the_same_name_replaces_nothing_unasked(tmp_path: Path) -> None:
    one, two = (
        _docs(tmp_path / "x" / "docs", a="Apples."),
        _docs(tmp_path / "y" / "docs", a="Ants."),
    )
    build_index([one], tmp_path / "i", settings=WORDS)
    before = open_index(tmp_path / "i").fingerprint
    with pytest.raises(TaskError, match=r"called 'docs/a\.md'") as caught:
        build_index([two], tmp_path / "i", settings=WORDS)
    assert "--replace" in str(caught.value)
    assert open_index(tmp_path / "i").fingerprint == before
    assert build_index([two], tmp_path / "i", settings=WORDS, replace=True).changed == 1


def test_an_index_of_the_first_version_is_read_and_brought_up_to_date(tmp_path: Path) -> None:
    docs = _docs(tmp_path / "docs", a="Apples.", b="Bears.")
    build_index([docs], tmp_path / "i", settings=WORDS)
    fingerprint = open_index(tmp_path / "i").fingerprint
    with sqlite3.connect(tmp_path / "i" / "index.sqlite") as db:
        for column in ("origin", "size", "changed", "recorded", "read"):
            db.execute(f"ALTER TABLE files DROP COLUMN {column}")
        db.execute("DELETE FROM facts WHERE key NOT IN ('settings', 'fingerprint')")
        db.execute("PRAGMA user_version=1")
    old = open_index(tmp_path / "i")
    assert old.fingerprint == fingerprint
    assert old.search(["apples"], LEXICAL)[0]
    (docs / "a.md").write_text("Pears.", "utf-8")
    (docs / "b.md").unlink()
    report = build_index([docs], tmp_path / "i", settings=WORDS)
    assert (report.changed, report.removed) == (1, 1)
    assert open_index(tmp_path / "i").search(["pears"], LEXICAL)[0]
