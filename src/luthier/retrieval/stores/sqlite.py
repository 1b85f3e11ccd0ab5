"""The default store: documents, passages, vectors and their words (FTS5) in one SQLite file.

Everything a run of indexing changes is published in one transaction, so that readers see the last
complete version. Vectors are kept in `computed` as they are made: a killed run does not lose them.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from luthier.errors import StorageError, UserError
from luthier.ledger.lock import folder_lock
from luthier.ledger.storage_errors import storage_error
from luthier.retrieval.index_store import (
    Dimension,
    Edition,
    Ranking,
    StoredDocument,
    Vectors,
    Where,
    as_passage,
    place_of,
)
from luthier.retrieval.stores.dense import Dense
from luthier.retrieval.types import IndexSettings, Passage

FILE = "index.sqlite"
VERSION = 2  # 1 had no stamps and no origins; it is read as it is, and brought up to date by a run

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
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5 (
    header, text, content='passages', content_rowid='number',
    tokenize='{tokenize}'
);
CREATE TRIGGER IF NOT EXISTS words_in AFTER INSERT ON passages BEGIN
    INSERT INTO words (rowid, header, text) VALUES (new.number, new.header, new.text);
END;
CREATE TRIGGER IF NOT EXISTS words_out AFTER DELETE ON passages BEGIN
    INSERT INTO words (words, rowid, header, text)
    VALUES ('delete', old.number, old.header, old.text);
END;
CREATE TABLE IF NOT EXISTS computed (id TEXT PRIMARY KEY, vector BLOB NOT NULL);
"""
ADDED_IN_2 = (
    "origin TEXT NOT NULL DEFAULT ''", "size INTEGER NOT NULL DEFAULT 0",
    "changed INTEGER NOT NULL DEFAULT 0", "recorded INTEGER NOT NULL DEFAULT 0",
    "read INTEGER NOT NULL DEFAULT 0",
)  # fmt: skip
TOKENIZERS = {
    "english": "porter unicode61 remove_diacritics 2",
    "none": "unicode61 remove_diacritics 2",
}


class SqliteStore:
    """An index in a folder."""

    name = "sqlite"

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        self.folder = folder
        self.where = str(folder)
        self._dense = Dense(folder)

    @contextmanager
    def reading(self) -> Iterator[SqliteReader]:
        """UserError for no index, StorageError for a newer version or a broken file."""
        with self._opened() as db:
            db.execute("BEGIN")
            yield SqliteReader(db, self._dense)

    @contextmanager
    def writing(self, settings: IndexSettings, dimension: Dimension) -> Iterator[SqliteWriter]:
        """The lock dies with the process that holds it."""
        with folder_lock(self.folder, option="--into"), self._opened(settings.stemmer) as db:
            yield SqliteWriter(db)
            self._dense.follow(db)
            # One plain file is left, which can be copied, hashed and read where nothing may be
            # written. Readers at work keep it from happening; then it is a file and its log.
            with suppress(sqlite3.OperationalError):
                db.execute("PRAGMA busy_timeout=1000")
                db.execute("PRAGMA journal_mode=DELETE")

    def bytes(self) -> int | None:
        """Of the file and what belongs to it."""
        return sum(p.stat().st_size for p in self.folder.glob(f"{FILE}*")) + self._dense.bytes()

    @contextmanager
    def _opened(self, stemmer: str | None = None) -> Iterator[sqlite3.Connection]:
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
            try:
                found = db.execute("PRAGMA user_version").fetchone()[0]
                if found > VERSION:
                    raise StorageError(
                        f"The index in {self.folder} is of version {found}, newer than this "
                        f"luthier reads ({VERSION})",
                        next_step="Update luthier, or make the index anew in another folder.",
                    )
                if stemmer is not None:
                    _bring_up_to_date(db, found, stemmer)
                yield db
            finally:
                db.close()
        except (sqlite3.Error, OSError) as error:
            raise storage_error(path, error, option="--into") from error


def _bring_up_to_date(db: sqlite3.Connection, found: int, stemmer: str) -> None:
    if found == VERSION:
        return
    if found == 1:
        with transaction(db):
            there = {row[1] for row in db.execute("PRAGMA table_info(files)")}
            for column in ADDED_IN_2:
                if column.split()[0] not in there:
                    db.execute(f"ALTER TABLE files ADD COLUMN {column}")
    else:
        db.execute("PRAGMA journal_mode=WAL")
        db.executescript(SCHEMA.format(tokenize=TOKENIZERS[stemmer]))
    db.execute(f"PRAGMA user_version={VERSION}")


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All or nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


class SqliteReader:
    """A read transaction."""

    def __init__(self, db: sqlite3.Connection, dense: Dense) -> None:
        self._db, self._dense = db, dense
        self._facts: dict[str, str] | None = None

    def facts(self) -> dict[str, str]:
        """See `Reader`."""
        if self._facts is None:
            self._facts = dict(self._db.execute("SELECT key, value FROM facts"))
        return self._facts

    def counts(self) -> tuple[int, int]:
        """See `Reader`."""
        one, two = (
            self._db.execute(f"SELECT count(*) FROM {t}").fetchone()[0]
            for t in ("passages", "files")
        )
        return one, two

    def nearest(self, vectors: Vectors, k: int, where: Where = ()) -> list[Ranking]:
        """By a graph over the vectors where there is one and nothing is filtered, else exact."""
        numbers = None
        if where:
            condition, values = _condition(where)
            asked = f"SELECT number FROM passages p WHERE vector NOT NULL{condition}"
            numbers = [n for (n,) in self._db.execute(asked, values)]
        return self._dense.nearest(self._db, self.facts(), vectors, k, numbers)

    def matching(self, queries: Sequence[str], k: int, where: Where = ()) -> list[Ranking]:
        """See `Reader`. Words are stemmed as the index was made."""
        condition, values = _condition(where)
        ask = (
            "SELECT p.id, -bm25(words) FROM words JOIN passages p ON p.number = words.rowid "
            f"WHERE words MATCH ?{condition} ORDER BY bm25(words), p.number LIMIT ?"
        )
        out: list[Ranking] = []
        for query in queries:
            words = "".join(c if c.isalnum() else " " for c in query).split()
            asked = " OR ".join(f'"{w}"' for w in dict.fromkeys(words))
            out.append(list(self._db.execute(ask, (asked, *values, k))) if words else [])
        return out

    def passages(self, ids: Sequence[str]) -> list[Passage]:
        """See `Reader`."""
        out = []
        for i in ids:
            ask = "SELECT id, source, text, place FROM passages WHERE id = ?"
            row = self._db.execute(ask, (i,)).fetchone()
            if row is None:
                raise KeyError(i)
            out.append(as_passage(row[0], row[1], row[2], json.loads(row[3])))
        return out

    def vectors(self, ids: Sequence[str]) -> dict[str, Vectors]:
        """See `Reader`."""
        ask = "SELECT vector FROM passages WHERE id = ? AND vector NOT NULL"
        found = {i: self._db.execute(ask, (i,)).fetchone() for i in ids}
        return {i: np.frombuffer(v[0], "<f4").astype(np.float32) for i, v in found.items() if v}


class SqliteWriter:
    """Writes through one connection, by one transaction a publication."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def facts(self) -> dict[str, str]:
        """See `Writer`."""
        return dict(self._db.execute("SELECT key, value FROM facts"))

    def held(self) -> dict[str, StoredDocument]:
        """See `Writer`."""
        ask = "SELECT source, digest, origin, size, changed, recorded, read FROM files"
        return {r[0]: StoredDocument(r[1], r[2], r[3:]) for r in self._db.execute(ask)}

    def without_vector(self, ids: Sequence[str]) -> set[str]:
        """See `Writer`."""
        ask = (
            "SELECT id FROM computed WHERE id = ? UNION "
            "SELECT id FROM passages WHERE id = ? AND vector IS NOT NULL"
        )
        return {i for i in ids if self._db.execute(ask, (i, i)).fetchone() is None}

    def keep_computed(self, ids: Sequence[str], vectors: Vectors) -> None:
        """See `Writer`."""
        rows = [(i, v.astype("<f4").tobytes()) for i, v in zip(ids, vectors, strict=True)]
        self._db.execute("PRAGMA journal_mode=WAL")
        with transaction(self._db):
            self._db.executemany("INSERT OR REPLACE INTO computed VALUES (?, ?)", rows)

    def publish(self, edition: Edition) -> None:
        """See `Writer`. A passage's number is never given to another (the graph knows numbers)."""
        db = self._db
        db.execute("PRAGMA journal_mode=WAL")  # readers do not wait
        with transaction(db):
            known = dict(db.execute("SELECT id, vector FROM computed"))
            ask = "SELECT coalesce(max(number), 0) FROM passages"
            number = max(int(self.facts().get("numbers", 0)), db.execute(ask).fetchone()[0])
            for source in {*edition.gone, *edition.new}:
                old = "SELECT id, vector FROM passages WHERE source = ? AND vector IS NOT NULL"
                known.update(db.execute(old, (source,)))
                db.execute("DELETE FROM passages WHERE source = ?", (source,))
                db.execute("DELETE FROM files WHERE source = ?", (source,))
            held = {n: h for n, (h, _) in edition.new.items()} | dict(edition.restamped)
            db.executemany(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(name, h.digest, h.origin, *h.stamp) for name, h in held.items()],
            )
            for source, (_, passages) in edition.new.items():
                rows = [
                    (number + i, p.id, source, p.header, p.text, _place(p), known.get(p.id))
                    for i, p in enumerate(passages, 1)
                ]
                number += len(rows)
                db.executemany("INSERT OR IGNORE INTO passages VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            facts = {**edition.facts, "numbers": str(number)}
            db.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", list(facts.items()))
            db.execute("DELETE FROM computed")

    def passages(self) -> int:
        """See `Writer`."""
        return int(self._db.execute("SELECT count(*) FROM passages").fetchone()[0])


def _condition(where: Where) -> tuple[str, list[str]]:
    """SQL that follows a WHERE on passages p, and its values."""
    parts, values = [], []
    for key, value in where:
        if key == "source":
            parts.append(" AND p.source = ?")
            values.append(value)
        else:
            path = json.dumps(key)  # quoted: a key may hold dots
            parts.append(" AND json_extract(p.place, ?) = ?")
            values += [f"$[4].{path}", value]
    return "".join(parts), values


def _place(p: Passage) -> str:
    return json.dumps(place_of(p))
