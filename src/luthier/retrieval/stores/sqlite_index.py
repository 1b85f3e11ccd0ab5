"""Reading and writing an index in SQLite."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from luthier.retrieval.index_store import (
    IndexUpdate,
    MetadataFilter,
    Ranking,
    StoredDocument,
    Vectors,
    as_passage,
    place_of,
)
from luthier.retrieval.stores.dense import DenseSearch
from luthier.retrieval.types import Passage
from luthier.scripts import FUNCTION_WORDS, search_terms

FEW_PASSAGES = 1_000  # up to which all that match are scored anew
FTS5_LEAST_RARITY = 1e-6


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Run the block as one transaction: all of it takes effect, or nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


class SqliteReader:
    """Reads in one transaction."""

    def __init__(self, db: sqlite3.Connection, dense: DenseSearch) -> None:
        self._db, self._dense = db, dense
        self._facts: dict[str, str] | None = None

    def facts(self) -> dict[str, str]:
        """See `IndexReader`."""
        if self._facts is None:
            self._facts = dict(self._db.execute("SELECT key, value FROM facts"))
        return self._facts

    def counts(self) -> tuple[int, int]:
        """See `IndexReader`."""
        passages, files = (
            self._db.execute(f"SELECT count(*) FROM {t}").fetchone()[0]
            for t in ("passages", "files")
        )
        return passages, files

    def nearest(self, vectors: Vectors, k: int, where: MetadataFilter = ()) -> list[Ranking]:
        """By a graph over the vectors where there is one and nothing is filtered, else exact."""
        numbers = None
        if where:
            condition, values = _condition(where)
            sql = f"SELECT number FROM passages p WHERE vector NOT NULL{condition}"
            numbers = [n for (n,) in self._db.execute(sql, values)]
        return self._dense.nearest(self._db, self.facts(), vectors, k, numbers)

    def matching(self, queries: Sequence[str], k: int, where: MetadataFilter = ()) -> list[Ranking]:
        """See `IndexReader`. Words are stemmed as in the index."""
        condition, values = _condition(where)
        sql = (
            "SELECT p.number, p.id, -bm25(words) FROM words "
            "JOIN passages p ON p.number = words.rowid "
            f"WHERE words MATCH ?{condition} ORDER BY bm25(words), p.number LIMIT ?"
        )
        passages = self.counts()[0]
        few = passages <= FEW_PASSAGES
        rankings: list[Ranking] = []
        for query in queries:
            terms = [f'"{word}"' for word in dict.fromkeys(search_terms(query))]
            most = passages if few else k
            found = self._db.execute(sql, (" OR ".join(terms), *values, most)) if terms else ()
            rows = list(found)
            if few:
                rows = self._with_common_words(terms, rows, passages)
            rankings.append([(i, score) for _, i, score in rows[:k]])
        return rankings

    def _with_common_words(
        self, terms: Sequence[str], rows: Sequence[tuple[int, str, float]], passages: int
    ) -> list[tuple[int, str, float]]:
        """The rows with a rarity that is never negative, best first.

        FTS5 takes the rarity of a word in over half of the passages for nothing, which in an index
        of a few passages is every word. Here it is ln(1 + (N - n + 1/2) / (n + 1/2)), as in Lucene,
        but for words such as "the", which stay as they are.
        """
        scores = dict.fromkeys((number for number, _, _ in rows), 0.0)
        for term in terms:
            sql = "SELECT rowid, -bm25(words) FROM words WHERE words MATCH ?"
            found = self._db.execute(sql, (term,)).fetchall()
            odds = (passages - len(found) + 0.5) / (len(found) + 0.5)
            counted = max(math.log(odds), FTS5_LEAST_RARITY)
            rarity = counted if term.strip('"').casefold() in FUNCTION_WORDS else math.log1p(odds)
            for number, score in found:
                if number in scores:
                    scores[number] += score / counted * rarity
        rescored = [(number, i, scores[number]) for number, i, _ in rows]
        return sorted(rescored, key=lambda row: (-row[2], row[0]))

    def passages(self, ids: Sequence[str]) -> list[Passage]:
        """See `IndexReader`."""
        found = []
        for i in ids:
            sql = "SELECT id, source, text, place FROM passages WHERE id = ?"
            row = self._db.execute(sql, (i,)).fetchone()
            if row is None:
                raise KeyError(i)
            found.append(as_passage(row[0], row[1], row[2], json.loads(row[3])))
        return found

    def vectors(self, ids: Sequence[str]) -> dict[str, Vectors]:
        """See `IndexReader`."""
        sql = "SELECT vector FROM passages WHERE id = ? AND vector NOT NULL"
        found = {i: self._db.execute(sql, (i,)).fetchone() for i in ids}
        return {i: np.frombuffer(v[0], "<f4").astype(np.float32) for i, v in found.items() if v}


class SqliteWriter:
    """Writes by one connection, with one transaction for each publication."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def facts(self) -> dict[str, str]:
        """See `IndexWriter`."""
        return dict(self._db.execute("SELECT key, value FROM facts"))

    def documents(self) -> dict[str, StoredDocument]:
        """See `IndexWriter`."""
        sql = "SELECT source, digest, origin, size, changed, recorded, read FROM files"
        return {r[0]: StoredDocument(r[1], r[2], r[3:]) for r in self._db.execute(sql)}

    def without_vector(self, ids: Sequence[str]) -> set[str]:
        """See `IndexWriter`."""
        sql = (
            "SELECT id FROM computed WHERE id = ? UNION "
            "SELECT id FROM passages WHERE id = ? AND vector IS NOT NULL"
        )
        return {i for i in ids if self._db.execute(sql, (i, i)).fetchone() is None}

    def keep_computed(self, ids: Sequence[str], vectors: Vectors) -> None:
        """See `IndexWriter`."""
        rows = [(i, v.astype("<f4").tobytes()) for i, v in zip(ids, vectors, strict=True)]
        self._db.execute("PRAGMA journal_mode=WAL")
        with transaction(self._db):
            self._db.executemany("INSERT OR REPLACE INTO computed VALUES (?, ?)", rows)

    def publish(self, update: IndexUpdate) -> None:
        """See `IndexWriter`. No number is used for two passages: the graph refers to numbers."""
        db = self._db
        db.execute("PRAGMA journal_mode=WAL")  # readers do not wait
        with transaction(db):
            known = dict(db.execute("SELECT id, vector FROM computed"))
            sql = "SELECT coalesce(max(number), 0) FROM passages"
            number = max(int(self.facts().get("numbers", 0)), db.execute(sql).fetchone()[0])
            for source in update.replaced:
                old = "SELECT id, vector FROM passages WHERE source = ? AND vector IS NOT NULL"
                known.update(db.execute(old, (source,)))
                db.execute("DELETE FROM passages WHERE source = ?", (source,))
                db.execute("DELETE FROM files WHERE source = ?", (source,))
            db.executemany(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(name, d.digest, d.origin, *d.stamp) for name, d in update.records.items()],
            )
            for source, (_, passages) in update.added.items():
                rows = [
                    (number + i, p.id, source, p.header, p.text, _place(p), known.get(p.id))
                    for i, p in enumerate(passages, 1)
                ]
                number += len(rows)
                db.executemany("INSERT OR IGNORE INTO passages VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            facts = {**update.facts, "numbers": str(number)}
            db.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", list(facts.items()))
            db.execute("DELETE FROM computed")

    def passages(self) -> int:
        """See `IndexWriter`."""
        return int(self._db.execute("SELECT count(*) FROM passages").fetchone()[0])


def _condition(where: MetadataFilter) -> tuple[str, list[str]]:
    """SQL that follows a WHERE on passages p, with its values."""
    parts, values = [], []
    for key, value in where:
        if key == "source":
            parts.append(" AND p.source = ?")
            values.append(value)
        else:
            path = json.dumps(key)  # quoted: a key may contain dots
            parts.append(" AND json_extract(p.place, ?) = ?")
            values += [f"$[4].{path}", value]
    return "".join(parts), values


def _place(p: Passage) -> str:
    return json.dumps(place_of(p))
