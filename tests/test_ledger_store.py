"""The ledger: WAL, transactions, migrations, and what it says when the disk says no."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from luthier.errors import StorageError
from luthier.ledger import database as store_module
from luthier.ledger.lock import folder_lock
from luthier.ledger.migrations import MIGRATIONS
from luthier.ledger.run_ledger import Ledger, PlannedRun, StoredComparison, StoredRun

COMPARISON = StoredComparison("c", "2026-01-01", "2026-01-01", None, "{}", "{}", "{}", "{}", "{}")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite") as opened:
        opened.start_comparison(COMPARISON)
        yield opened


def run_row(key: str = "k", status: str = "running", result: str | None = None) -> StoredRun:
    return StoredRun(key, "c", "run", "lora", 0, status, "2026-01-01", result=result)


def test_the_file_is_in_wal_mode_and_keeps_rows(store: Ledger) -> None:
    mode = sqlite3.connect(store.path)
    assert mode.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    mode.close()
    store.save_run(run_row())
    store.save_run(run_row(status="finished", result='{"a":1}'))
    store.close()
    with Ledger(store.path) as again:
        assert again.run("k") == run_row(status="finished", result='{"a":1}')
        assert again.run("other") is None
        assert again.comparison("c") == COMPARISON


def test_a_comparison_takes_new_prices_and_the_plan_it_is_handed(store: Ledger) -> None:
    changed = StoredComparison("c", "x", "2027-01-01", None, "{}", "{}", "new plan", "new", "{}")
    store.start_comparison(changed)
    row = store.comparison("c")
    assert row is not None
    assert (row.plan, row.prices, row.touched) == ("new plan", "new", "2027-01-01")
    store.start_comparison(StoredComparison("d", "x", "2026-06-01", None, *"mtppp"))
    assert [r.id for r in store.comparisons()] == ["c", "d"], "whatever the clock says"


def test_planned_runs_keep_their_order_and_stand_once(store: Ledger) -> None:
    planned = [PlannedRun("c", key, "lora", "run", "", seed) for seed, key in enumerate("zab")]
    store.add_planned_runs(planned)
    store.add_planned_runs(planned[:1])
    assert store.planned_runs("c") == planned


def test_events_are_appended(store: Ledger) -> None:
    store.add_event("failed", "first", comparison="c", run="k")
    store.add_event("interrupted", "second")
    assert [(e.kind, e.message, e.run) for e in store.events()] == [
        ("failed", "first", "k"),
        ("interrupted", "second", None),
    ]


def test_a_transaction_that_fails_leaves_nothing(store: Ledger) -> None:
    orphan = StoredRun("k", "no such comparison", "run", "lora", 0, "running", "2026-01-01")
    with pytest.raises(StorageError):
        store.save_run(orphan)
    assert store.run("k") is None
    store.save_run(run_row())  # and the ledger goes on working
    assert store.run("k") is not None


def test_a_full_disk_is_told_and_harms_nothing(store: Ledger) -> None:
    store.save_run(run_row("old", "finished", "kept"))
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StorageError, match=r"is full") as told:
        store.save_run(run_row("new", "finished", "x" * 100_000))
    assert "same command again" in str(told.value)
    assert store.run("new") is None
    old = store.run("old")
    assert old is not None
    assert old.result == "kept"
    store.close()
    with Ledger(store.path) as again:
        assert again._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_locked_ledger_is_told(store: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store._db.execute("PRAGMA busy_timeout=50")
    with pytest.raises(StorageError, match="locked by another process"):
        store.save_run(run_row())
    other.execute("ROLLBACK")
    other.close()
    store.save_run(run_row())


def test_a_file_that_is_no_ledger_is_told(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"this is a text and no database" * 100)
    with pytest.raises(StorageError, match="no ledger"):
        Ledger(path)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError):
        Ledger(tmp_path / "file" / "ledger.sqlite")


def test_a_ledger_of_a_newer_version_is_left_alone(store: Ledger) -> None:
    store._db.execute("INSERT INTO migrations VALUES ('9999-later', 'x')")
    store.close()
    with pytest.raises(StorageError, match="newer Luthier"):
        Ledger(store.path)


def test_a_ledger_of_an_older_version_is_refused_with_a_next_step(store: Ledger) -> None:
    store._db.execute("UPDATE migrations SET name = '0001-first' WHERE name LIKE '0002%'")
    store.close()
    with pytest.raises(StorageError, match=r"older Luthier[\s\S]*another --out folder"):
        Ledger(store.path)


def test_migrations_run_once_and_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ledger.sqlite"
    Ledger(path).close()
    later = ("9999-more", "CREATE TABLE more (x TEXT); INSERT INTO more VALUES ('once')")
    monkeypatch.setattr(store_module, "MIGRATIONS", (*MIGRATIONS, later))
    for _ in range(2):
        with Ledger(path) as store:
            assert store._select("SELECT x FROM more", ()) == [("once",)]
            names = [name for (name,) in store._select("SELECT name FROM migrations", ())]
    assert names == [*(name for name, _ in MIGRATIONS), "9999-more"]


def test_a_run_folder_holds_one_process_at_a_time(tmp_path: Path) -> None:
    with folder_lock(tmp_path), pytest.raises(StorageError, match="in use"), folder_lock(tmp_path):
        pass
    with folder_lock(tmp_path):
        pass
