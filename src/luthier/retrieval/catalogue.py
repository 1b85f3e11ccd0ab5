"""What an index holds, in one SQLite file: documents, passages, vectors and their words (FTS5).

Everything a run of indexing changes is published in one transaction, so that readers see the last
complete version. Vectors are kept in `computed` as they are made: a killed run does not lose them.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from luthier.errors import StorageError, UserError
from luthier.ledger.store import storage_error
from luthier.retrieval.records import Passage

FILE = "index.sqlite"
VERSION = 1
Vectors = NDArray[np.float32]

SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS files (source TEXT PRIMARY KEY, digest TEXT NOT NULL);
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
TOKENIZERS = {
    "english": "porter unicode61 remove_diacritics 2",
    "none": "unicode61 remove_diacritics 2",
}


@contextmanager
def opened(folder: Path, *, stemmer: str | None = None) -> Iterator[sqlite3.Connection]:
    """The file, made when `stemmer` is given. StorageError for a newer version or a broken file."""
    path = folder / FILE
    try:
        if stemmer is not None:
            folder.mkdir(parents=True, exist_ok=True)
        elif not path.is_file():
            raise UserError(
                f"No index in {folder}", next_step=f"Make one: luthier index docs/ --into {folder}"
            )
        db = sqlite3.connect(path, timeout=10.0, isolation_level=None)
        try:
            found = db.execute("PRAGMA user_version").fetchone()[0]
            if found > VERSION:
                raise StorageError(
                    f"The index in {folder} is of version {found}, newer than this luthier reads "
                    f"({VERSION})",
                    next_step="Update luthier, or make the index anew in another folder.",
                )
            if stemmer is not None:
                db.execute("PRAGMA journal_mode=WAL")
                db.executescript(SCHEMA.format(tokenize=TOKENIZERS[stemmer]))
                db.execute(f"PRAGMA user_version={VERSION}")
            yield db
        finally:
            db.close()
    except (sqlite3.Error, OSError) as error:
        raise storage_error(path, error) from error


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


def facts(db: sqlite3.Connection) -> dict[str, str]:
    """What is written down about the index; empty before its first complete version."""
    return dict(db.execute("SELECT key, value FROM facts"))


def files(db: sqlite3.Connection) -> dict[str, str]:
    """Source to digest."""
    return dict(db.execute("SELECT source, digest FROM files"))


def keep_computed(db: sqlite3.Connection, ids: Sequence[str], vectors: Vectors) -> None:
    """Keep vectors of passages that are not published yet."""
    rows = [(i, v.astype("<f4").tobytes()) for i, v in zip(ids, vectors, strict=True)]
    with transaction(db):
        db.executemany("INSERT OR REPLACE INTO computed VALUES (?, ?)", rows)


def without_vector(db: sqlite3.Connection, ids: Sequence[str]) -> set[str]:
    """Those of the ids whose vector has neither been published nor computed."""
    ask = (
        "SELECT id FROM computed WHERE id = ? UNION "
        "SELECT id FROM passages WHERE id = ? AND vector IS NOT NULL"
    )
    return {i for i in ids if db.execute(ask, (i, i)).fetchone() is None}


def publish(
    db: sqlite3.Connection,
    *,
    gone: Sequence[str],
    new: Mapping[str, tuple[str, Sequence[Passage]]],
    written: Mapping[str, str],
) -> None:
    """Replace the passages of `gone` sources by those of `new` (source to digest and passages)."""
    with transaction(db):
        known = dict(db.execute("SELECT id, vector FROM computed"))
        for source in {*gone, *new}:
            old = "SELECT id, vector FROM passages WHERE source = ? AND vector IS NOT NULL"
            known.update(db.execute(old, (source,)))
            db.execute("DELETE FROM passages WHERE source = ?", (source,))
            db.execute("DELETE FROM files WHERE source = ?", (source,))
        for source, (digest, passages) in new.items():
            db.execute("INSERT INTO files VALUES (?, ?)", (source, digest))
            db.executemany(
                "INSERT OR IGNORE INTO passages (id, source, header, text, place, vector) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                [(p.id, source, p.header, p.text, _place(p), known.get(p.id)) for p in passages],
            )
        db.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", list(written.items()))
        db.execute("DELETE FROM computed")


def lexical(db: sqlite3.Connection, query: str, k: int) -> list[tuple[int, float]]:
    """Numbers and BM25 scores (higher is better) of the passages that share words with a query."""
    words = "".join(c if c.isalnum() else " " for c in query).split()
    if not words:
        return []
    asked = " OR ".join(f'"{w}"' for w in dict.fromkeys(words))
    return list(
        db.execute(
            "SELECT rowid, -bm25(words) FROM words WHERE words MATCH ? "
            "ORDER BY bm25(words) LIMIT ?",
            (asked, k),
        )
    )


def as_passage(row: tuple[str, str, str, str]) -> Passage:
    """A passage from its columns id, source, text, place."""
    start, end, page, headings, metadata = json.loads(row[3])
    return Passage(row[0], row[2], row[1], start, end, page, tuple(headings), metadata)


def _place(p: Passage) -> str:
    return json.dumps([p.start, p.end, p.page, p.headings, dict(p.metadata)])
