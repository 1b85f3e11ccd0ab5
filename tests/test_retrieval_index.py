"""Indexing and searching: what is found, what an edit costs, what cannot be read."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from luthier.cli.main import run
from luthier.errors import StorageError, TaskError, UserError
from luthier.retrieval import IndexSettings, SearchSettings, build_index, open_index
from luthier.retrieval.ranking import fuse_rankings

pytest.importorskip("semantic_text_splitter", reason="needs luthier[rag]")
WORDS = IndexSettings(embedder="none")
LEXICAL = SearchSettings(k=2, mode="lexical")


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "shop.md").write_text("# Shop\n\n## Refunds\n\nGifts go back in 30 days.\n", "utf-8")
    (folder / "rows.jsonl").write_text('{"text": "The kettle whistles.", "kind": "tea"}\n', "utf-8")
    return folder


def test_a_hit_leads_to_its_place(docs: Path, tmp_path: Path) -> None:
    build_index([docs], tmp_path / "i", settings=WORDS)
    hit = open_index(tmp_path / "i").search(["returning a gift"], LEXICAL)[0][0]
    assert hit.passage.headings == ("Shop", "Refunds")
    text = (docs / "shop.md").read_text("utf-8")
    assert text[hit.passage.start : hit.passage.end] == "Gifts go back in 30 days."


def test_only_edits_cost_and_deleted_documents_go(docs: Path, tmp_path: Path) -> None:
    first = build_index([docs], tmp_path / "i", settings=WORDS)
    before = open_index(tmp_path / "i").fingerprint
    again = build_index([docs], tmp_path / "i", settings=WORDS)
    assert (first.added, again.unchanged, again.changed) == (2, 2, 0)
    assert open_index(tmp_path / "i").fingerprint == before
    (docs / "shop.md").write_text("Returns end after 14 days.", "utf-8")
    (docs / "rows.jsonl").unlink()
    edited = build_index([docs], tmp_path / "i", settings=WORDS)
    assert (edited.changed, edited.removed, edited.passages) == (1, 1, 1)
    index = open_index(tmp_path / "i")
    assert index.fingerprint != before
    assert index.search(["kettle", "gifts"], LEXICAL) == [[], []]


def test_filters(docs: Path, tmp_path: Path) -> None:
    build_index([docs], tmp_path / "i", settings=WORDS)
    asked = SearchSettings(mode="lexical", where=(("kind", "tea"),))
    found = open_index(tmp_path / "i").search(["the days of a kettle"], asked)[0]
    assert [h.passage.metadata["kind"] for h in found] == ["tea"]


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("x.txt", b"a\0b", "binary"),
        ("x.pdf", b"%PDF-1.4 nothing", "broken"),
        ("x.docx", b"PK", "broken"),
        ("x.jsonl", b"{", "line 1"),
        ("x.txt", b" ", "empty"),
    ],
)
def test_a_bad_document_is_listed_and_the_good_ones_stay(
    docs: Path, tmp_path: Path, name: str, data: bytes, reason: str
) -> None:
    (docs / name).write_bytes(data)
    report = build_index([docs], tmp_path / "i", settings=WORDS)
    assert report.added == 2
    assert [b.source for b in report.bad] == [f"docs/{name}"]
    assert reason in report.bad[0].reason


def test_errors_are_kind(docs: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No index"):
        open_index(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(TaskError, match="no documents"):
        build_index([tmp_path / "empty"], tmp_path / "i", settings=WORDS)
    build_index([docs], tmp_path / "i", settings=WORDS)
    with pytest.raises(UserError, match="no vectors"):
        open_index(tmp_path / "i").search(["a"])
    with pytest.raises(UserError, match="other settings"):
        build_index([docs], tmp_path / "i", settings=IndexSettings(embedder="none", stemmer="none"))
    with sqlite3.connect(tmp_path / "i" / "index.sqlite") as db:
        db.execute("PRAGMA user_version=99")
    with pytest.raises(StorageError, match="newer"):
        open_index(tmp_path / "i")


def test_a_failed_run_leaves_the_last_version(
    docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_index([docs], tmp_path / "i", settings=WORDS)
    before = open_index(tmp_path / "i").fingerprint
    (docs / "shop.md").write_text("Nothing of the kind.", "utf-8")

    def break_off(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("luthier.retrieval.stores.sqlite_index._place", break_off)
        with pytest.raises(KeyboardInterrupt):
            build_index([docs], tmp_path / "i", settings=WORDS)
    index = open_index(tmp_path / "i")
    assert index.fingerprint == before
    assert index.search(["gifts"], LEXICAL)[0]
    assert build_index([docs], tmp_path / "i", settings=WORDS).changed == 1


def test_fusion_sums_reciprocal_ranks() -> None:
    assert fuse_rankings([["7", "8"], ["8"]]) == [("8", 1 / 62 + 1 / 61), ("7", 1 / 61)]


def test_the_commands_index_and_search(
    docs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (docs / "bad.pdf").write_bytes(b"no pdf")
    into = str(tmp_path / "i")
    assert run(["index", str(docs), "--into", into, "--embedder", "none"]) == 1
    assert "docs/bad.pdf" in capsys.readouterr().err
    assert run(["search", into, "gift", "-k", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["hits"][0]["passage"]["source"] == "docs/shop.md"
