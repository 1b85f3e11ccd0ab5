"""The default store: documents, passages, vectors and their words (FTS5) in one SQLite file.

Everything that a run of indexing changes is published in one transaction, so that readers see the
last complete version. Vectors are kept in `computed` as soon as they are made, so that a kill does
not lose them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from luthier.errors import StorageError, UserError
from luthier.ledger.lock import folder_lock
from luthier.ledger.storage_errors import storage_error
from luthier.retrieval.index_store import Dimension
from luthier.retrieval.stores.dense import dense_search
from luthier.retrieval.stores.sqlite_index import SqliteReader, SqliteWriter, transaction
from luthier.retrieval.types import IndexSettings
from luthier.scripts import searchable

FILE = "index.sqlite"
# Of the format. Version 1 had no stamps and no origins; 1 and 2 found no words of scripts without
# spaces. They are read as they are, and a run upgrades them.
VERSION = 3

SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS files (
    source TEXT PRIMARY KEY, digest TEXT NOT NULL, origin TEXT NOT NULL DEFAULT '',
    size INTEGER NOT NULL DEFAULT 0, changed INTEGER NOT NULL DEFAULT 0,
    recorded INTEGER NOT NULL DEFAULT 0, read INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS passages (
    number INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, source TEXT NOT NULL, header TEXT NOT NULL,
    text TEXT NOT NULL, place TEXT NOT NULL, vector BLOB
);
CREATE INDEX IF NOT EXISTS passages_source ON passages (source);
CREATE TABLE IF NOT EXISTS computed (id TEXT PRIMARY KEY, vector BLOB NOT NULL);
"""
# `searchable` is `luthier.scripts.searchable`, which every connection that writes knows.
WORDS = """
CREATE VIEW searchable_passages AS
    SELECT number, searchable(header) AS header, searchable(text) AS text FROM passages;
CREATE VIRTUAL TABLE words USING fts5 (
    header, text, content='searchable_passages', content_rowid='number',
    tokenize="{tokenize}"
);
CREATE TRIGGER words_in AFTER INSERT ON passages BEGIN
    INSERT INTO words (rowid, header, text)
    VALUES (new.number, searchable(new.header), searchable(new.text));
END;
CREATE TRIGGER words_out AFTER DELETE ON passages BEGIN
    INSERT INTO words (words, rowid, header, text)
    VALUES ('delete', old.number, searchable(old.header), searchable(old.text));
END;
"""
ADDED_IN_2 = (
    "origin TEXT NOT NULL DEFAULT ''", "size INTEGER NOT NULL DEFAULT 0",
    "changed INTEGER NOT NULL DEFAULT 0", "recorded INTEGER NOT NULL DEFAULT 0",
    "read INTEGER NOT NULL DEFAULT 0",
)  # fmt: skip
# The marks of Indic and other scripts are part of their words.
_LETTERS = "unicode61 remove_diacritics 2 categories 'L* N* Co Mn Mc'"
TOKENIZERS = {"english": f"porter {_LETTERS}", "none": _LETTERS}


class SqliteStore:
    """An index in a folder."""

    name = "sqlite"

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        self.folder = folder
        self.address = str(folder)
        self._dense = dense_search(folder.absolute())

    @contextmanager
    def reader(self) -> Iterator[SqliteReader]:
        """UserError for no index, StorageError for a newer version or a broken file."""
        with self._connected() as db:
            db.execute("BEGIN")
            yield SqliteReader(db, self._dense)

    @contextmanager
    def writer(self, settings: IndexSettings, dimension: Dimension) -> Iterator[SqliteWriter]:
        """The lock ends with the process that has it."""
        with folder_lock(self.folder, option="--into"), self._connected(settings.stemmer) as db:
            yield SqliteWriter(db)
            self._dense.update_graph(db)
            # This leaves one plain file, which can be copied, hashed, and read where nothing may be
            # written. With readers at work it fails; then the index is a file and its log.
            with suppress(sqlite3.OperationalError):
                db.execute("PRAGMA busy_timeout=1000")
                db.execute("PRAGMA journal_mode=DELETE")

    def bytes(self) -> int | None:
        """The bytes of the database, its log and the graph."""
        return sum(p.stat().st_size for p in self.folder.glob(f"{FILE}*")) + self._dense.bytes()

    @contextmanager
    def _connected(self, stemmer: str | None = None) -> Iterator[sqlite3.Connection]:
        path = self.folder / FILE
        try:
            if stemmer is not None:
                self.folder.mkdir(parents=True, exist_ok=True)
            elif not path.is_file():
                raise UserError(
                    f"No index in {self.folder}",
                    next_step=f"Make one: luthier index docs/ --into {self.folder}",
                )
            # A run waits for searches to end before its first write; after that neither waits.
            seconds = 10.0 if stemmer is None else 60.0
            db = sqlite3.connect(path, timeout=seconds, isolation_level=None)
            db.create_function("searchable", 1, searchable, deterministic=True)
            try:
                version = db.execute("PRAGMA user_version").fetchone()[0]
                if version > VERSION:
                    raise StorageError(
                        f"The index in {self.folder} is of version {version}, newer than this "
                        f"luthier reads ({VERSION})",
                        next_step="Update luthier, or build the index again in another folder.",
                    )
                if stemmer is not None:
                    _upgrade(db, version, stemmer)
                yield db
            finally:
                db.close()
        except (sqlite3.Error, OSError) as error:
            raise storage_error(path, error, option="--into") from error


_OF_WORDS = (
    ("TRIGGER", "words_in"),
    ("TRIGGER", "words_out"),
    ("TABLE", "words"),
    ("VIEW", "searchable_passages"),
)


def _upgrade(db: sqlite3.Connection, version: int, stemmer: str) -> None:
    if version == VERSION:
        return
    if version == 0:
        db.execute("PRAGMA journal_mode=WAL")
        db.executescript(SCHEMA)
    with transaction(db):
        columns = {row[1] for row in db.execute("PRAGMA table_info(files)")}
        for column in ADDED_IN_2:
            if column.split()[0] not in columns:
                db.execute(f"ALTER TABLE files ADD COLUMN {column}")
        for kind, name in _OF_WORDS:
            db.execute(f"DROP {kind} IF EXISTS {name}")
        for statement in WORDS.format(tokenize=TOKENIZERS[stemmer]).split(";\nCREATE "):
            db.execute("CREATE " + statement.strip().removeprefix("CREATE "))
        db.execute(
            "INSERT INTO words (rowid, header, text) "
            "SELECT number, header, text FROM searchable_passages"
        )
        db.execute(f"PRAGMA user_version={VERSION}")
