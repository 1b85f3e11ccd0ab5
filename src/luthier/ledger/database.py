"""One SQLite file in WAL mode, brought up to date when it is opened; what is committed stays.

Threads may share an open one: they take turns.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from luthier.errors import StorageError
from luthier.ledger.migrations import MIGRATIONS, OUTDATED
from luthier.ledger.provenance import now
from luthier.ledger.storage_errors import BUSY_SECONDS, storage_error, storage_errors

LEDGER_FILE = "ledger.sqlite"  # its name in a run folder


class Database:
    """An open file. Use it as a context manager, or call `close`."""

    def __init__(self, path: str | Path) -> None:
        """Open or create the file. StorageError when it is locked, read-only, no ledger, or one of
        another version, and when the disk is full."""
        self.path = Path(path)
        self._lock = threading.RLock()
        with storage_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Explicit transactions only: sqlite3's own opening of them would commit before DDL.
            self._db = sqlite3.connect(
                self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                self._db.execute("PRAGMA journal_mode=WAL")
                # FULL: a finished run must also survive a power cut, and there are few writes.
                self._db.execute("PRAGMA synchronous=FULL")
                self._db.execute("PRAGMA foreign_keys=ON")
                self._migrate()
            except BaseException:
                self._db.close()
                raise

    @classmethod
    @contextmanager
    def to_read(cls, path: str | Path) -> Iterator[Self]:
        """Open a file that is there, in order to read it: also where nothing can be written, and
        where a process that was killed left its log. There a copy is read."""
        path = Path(path)
        if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK):
            with cls(path) as database:
                yield database
            return
        with tempfile.TemporaryDirectory(prefix="luthier-") as scratch:
            copy = Path(scratch) / path.name
            try:
                shutil.copyfile(path, copy)
                log = path.with_name(f"{path.name}-wal")
                if log.is_file():
                    shutil.copyfile(log, copy.with_name(log.name))
            except OSError as error:
                raise storage_error(path, error) from error
            with cls(copy) as database:
                yield database

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; the write-ahead log is folded in."""
        self._db.close()

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
        with self._lock, storage_errors(self.path):
            return self._db.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, storage_errors(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
