"""The ledger: what ran, with what result, in one SQLite file in WAL mode.

A row of `runs` is written when the run starts, when its fit is saved, and when it ends, each time
in one transaction. A run that is killed in between leaves a row that says "running" or "fitted";
the next start goes on from there. Records are stored as the JSON of frozen dataclasses
(`luthier.serialization`), so that this module imports no other room.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Self

from luthier.errors import StorageError
from luthier.ledger.provenance import now
from luthier.ledger.storage_errors import BUSY_SECONDS, storage_error

LEDGER_FILE = "ledger.sqlite"  # its name in a run folder

MIGRATIONS: tuple[tuple[str, str], ...] = (
    (
        "0002-planned-runs",
        """
        CREATE TABLE comparisons (
            id TEXT PRIMARY KEY, created TEXT NOT NULL, touched TEXT NOT NULL, finished TEXT,
            task TEXT NOT NULL, model TEXT NOT NULL, plan TEXT NOT NULL, prices TEXT NOT NULL,
            provenance TEXT NOT NULL
        );
        CREATE TABLE runs (
            key TEXT PRIMARY KEY, comparison TEXT NOT NULL REFERENCES comparisons(id),
            purpose TEXT NOT NULL, technique TEXT NOT NULL, seed INTEGER NOT NULL,
            status TEXT NOT NULL, started TEXT NOT NULL, finished TEXT,
            result TEXT, artifact TEXT, error TEXT
        );
        CREATE TABLE planned_runs (
            comparison TEXT NOT NULL REFERENCES comparisons(id), key TEXT NOT NULL,
            technique TEXT NOT NULL, purpose TEXT NOT NULL, part TEXT NOT NULL,
            seed INTEGER NOT NULL, PRIMARY KEY (comparison, key)
        );
        CREATE TABLE events (
            id INTEGER PRIMARY KEY AUTOINCREMENT, time TEXT NOT NULL,
            comparison TEXT, run TEXT, kind TEXT NOT NULL, message TEXT NOT NULL
        );
        """,
    ),
)
# Ledgers from before the records had their present names; they cannot be read any more.
OUTDATED = frozenset({"0001-first"})


@dataclass(frozen=True, slots=True)
class StoredComparison:
    """A comparison as the ledger keeps it: `task`, `model`, `plan`, `prices` and `provenance` are
    JSON.

    `touched` is when it was last started, `finished` when nothing was left to do.
    """

    id: str
    created: str
    touched: str
    finished: str | None
    task: str
    model: str
    plan: str
    prices: str
    provenance: str


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A run that belongs to a comparison. Two comparisons in one ledger may share a run.

    `technique` is the name in the plan. `purpose` is "run", "step" (an intermediate step of a
    recipe), "curve" (a point of a learning curve) or "reference" (what needs no language model).
    `part` says which step ("1 few-shot") or which share of the training examples ("0.25"); it is ""
    for a whole run.
    """

    comparison: str
    key: str
    technique: str
    purpose: str
    part: str
    seed: int


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run as the ledger keeps it; `comparison` is the one that made it.

    `status` is "running", "fitted", "finished", "failed", "skipped" or "stopped". `result` is JSON,
    `artifact` the hash of a folder in `ledger.artifacts`, `error` the reason in words.
    """

    key: str
    comparison: str
    purpose: str
    technique: str
    seed: int
    status: str
    started: str
    finished: str | None = None
    result: str | None = None
    artifact: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, for a later reader of the ledger."""

    time: str
    comparison: str | None
    run: str | None
    kind: str
    message: str


class Ledger:
    """An open ledger. Use it as a context manager, or call `close`."""

    def __init__(self, path: str | Path) -> None:
        """Open or create the file. StorageError when it is locked, read-only, no ledger, or one of
        another version, and when the disk is full."""
        self.path = Path(path)
        with self._storage_errors():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Explicit transactions only: sqlite3's own opening of them would commit before DDL.
            self._db = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)
            try:
                self._db.execute("PRAGMA journal_mode=WAL")
                # FULL: a finished run must also survive a power cut, and there are few writes.
                self._db.execute("PRAGMA synchronous=FULL")
                self._db.execute("PRAGMA foreign_keys=ON")
                self._migrate()
            except BaseException:
                self._db.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; the write-ahead log is folded in."""
        self._db.close()

    def start_comparison(self, comparison: StoredComparison) -> None:
        """Add a comparison. Of one that is there already the plan, the prices and the time it was
        touched are updated: whoever resumes it hands its plan back, with today's limits."""
        with self._transaction() as db:
            db.execute(
                "INSERT INTO comparisons VALUES (?,?,?,?,?,?,?,?,?) "
                "ON CONFLICT (id) DO UPDATE "
                "SET touched = excluded.touched, prices = excluded.prices, "
                "plan = excluded.plan",
                astuple(comparison),
            )

    def comparison(self, id: str) -> StoredComparison | None:
        """The comparison with that id; None when there is none."""
        rows = self._select("SELECT * FROM comparisons WHERE id = ?", (id,))
        return StoredComparison(*rows[0]) if rows else None

    def comparisons(self) -> list[StoredComparison]:
        """All comparisons, the one that was last started at the end."""
        rows = self._select("SELECT * FROM comparisons ORDER BY touched, rowid", ())
        return [StoredComparison(*row) for row in rows]

    def add_planned_runs(self, planned_runs: Iterable[PlannedRun]) -> None:
        """Add the runs that belong to a comparison; those that are there already stay."""
        with self._transaction() as db:
            db.executemany(
                "INSERT INTO planned_runs VALUES (?,?,?,?,?,?) ON CONFLICT DO NOTHING",
                [astuple(planned_run) for planned_run in planned_runs],
            )

    def planned_runs(self, comparison: str) -> list[PlannedRun]:
        """The runs of a comparison, in the order in which they were added."""
        query = "SELECT * FROM planned_runs WHERE comparison = ? ORDER BY rowid"
        return [PlannedRun(*row) for row in self._select(query, (comparison,))]

    def end_comparison(self, id: str) -> None:
        """Mark a comparison in which nothing is left to do."""
        with self._transaction() as db:
            db.execute("UPDATE comparisons SET finished = ? WHERE id = ?", (now(), id))

    def save_run(self, run: StoredRun) -> None:
        """Write a run as it stands now, in place of what the ledger held of it."""
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO runs VALUES (?,?,?,?,?,?,?,?,?,?,?)", astuple(run))

    def run(self, key: str) -> StoredRun | None:
        """The run with that key; None when there is none."""
        rows = self._select("SELECT * FROM runs WHERE key = ?", (key,))
        return StoredRun(*rows[0]) if rows else None

    def add_event(
        self, kind: str, message: str, *, comparison: str | None = None, run: str | None = None
    ) -> None:
        """Append an event, with the time."""
        with self._transaction() as db:
            db.execute(
                "INSERT INTO events (time, comparison, run, kind, message) VALUES (?,?,?,?,?)",
                (now(), comparison, run, kind, message),
            )

    def events(self) -> list[Event]:
        """All events in order."""
        query = "SELECT time, comparison, run, kind, message FROM events ORDER BY id"
        return [Event(*r) for r in self._select(query, ())]

    def _migrate(self) -> None:
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, applied TEXT NOT NULL)"
        )
        done = {r[0] for r in self._db.execute("SELECT name FROM migrations")}
        if done & OUTDATED:
            raise StorageError(
                f"{self.path} was written by an older Luthier, whose records this one cannot read",
                next_step="Choose another --out folder and compare again, or read it with the "
                "Luthier that wrote it.",
            )
        unknown = done - {name for name, _ in MIGRATIONS}
        if unknown:
            raise StorageError(
                f"{self.path} was written by a newer Luthier (it knows {max(unknown)!r})",
                next_step="Upgrade Luthier, or choose another --out folder.",
            )
        for name, script in MIGRATIONS:
            if name in done:
                continue
            with self._transaction() as db:
                # Another process may have migrated between the query and the lock.
                if db.execute("SELECT 1 FROM migrations WHERE name = ?", (name,)).fetchone():
                    continue
                for statement in script.split(";"):
                    if statement.strip():
                        db.execute(statement)
                db.execute("INSERT INTO migrations VALUES (?, ?)", (name, now()))

    def _select(self, query: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        with self._storage_errors():
            return self._db.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._storage_errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    @contextmanager
    def _storage_errors(self) -> Iterator[None]:
        """Turn errors of SQLite and of the file system into StorageError."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise storage_error(self.path, error) from error
