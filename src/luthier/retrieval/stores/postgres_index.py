"""Reading and writing an index in PostgreSQL.

BM25 (Robertson and Zaragoza 2009, equation 3.15) is computed in SQL from PostgreSQL's own lexemes,
because its ranking functions do not weigh words by rarity.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from luthier.retrieval.index_store import (
    GRAPH_FROM,
    IndexUpdate,
    MetadataFilter,
    Ranking,
    StoredDocument,
    Vectors,
    as_passage,
    metadata_labels,
    place_of,
)
from luthier.retrieval.types import Passage
from luthier.scripts import searchable

MOST_DIMENSIONS = 2000  # of a vector in pgvector's graph
CONFIGURATIONS = {"english": "english", "none": "simple"}
INSERT_PASSAGE = """
WITH new AS (
    INSERT INTO passages (id, source, text, place, labels, length {column})
    VALUES (%s, %s, %s, %s, %s, 0 {value}) ON CONFLICT (id) DO NOTHING RETURNING number
), cut AS (
    SELECT number, lexeme, cardinality(positions) AS times
    FROM new, unnest(to_tsvector(%s::regconfig, %s))
)
INSERT INTO words (lexeme, number, times) SELECT lexeme, number, times FROM cut
"""
MATCH = """
WITH asked AS (SELECT lexeme FROM unnest(to_tsvector(%s::regconfig, %s))),
known AS (SELECT count(*)::float AS passages, avg(length) AS length FROM passages),
rare AS (
    SELECT lexeme, ln(1 + (max(known.passages) - count(*) + 0.5) / (count(*) + 0.5)) AS weight
    FROM words JOIN asked USING (lexeme), known GROUP BY lexeme
)
SELECT id, sum(weight * times * 2.2 / (times + 1.2 * (0.25 + 0.75 * p.length / known.length)))
    AS score
FROM words JOIN rare USING (lexeme) JOIN passages p USING (number), known
WHERE labels @> %s GROUP BY id ORDER BY score DESC, id LIMIT %s
"""


class PostgresReader:
    """Reads in one transaction."""

    def __init__(self, db: Any) -> None:
        self._db = db

    def facts(self) -> dict[str, str]:
        """See `IndexReader`."""
        return dict(self._db.execute("SELECT key, value FROM facts").fetchall())

    def counts(self) -> tuple[int, int]:
        """See `IndexReader`."""
        sql = "SELECT (SELECT count(*) FROM passages), (SELECT count(*) FROM files)"
        passages, documents = self._db.execute(sql).fetchone()
        return passages, documents

    def nearest(self, vectors: Vectors, k: int, where: MetadataFilter = ()) -> list[Ranking]:
        """By pgvector's graph where the index is large, else exact."""
        self._db.execute(f"SET LOCAL hnsw.ef_search = {min(max(100, 2 * k), 1000)}")
        self._db.execute("SET LOCAL hnsw.iterative_scan = strict_order")  # for filters
        sql = (
            "SELECT id, -(vector <#> %s::vector) FROM passages WHERE "
            f"vector IS NOT NULL{' AND labels @> %s' if where else ''} "
            "ORDER BY vector <#> %s::vector LIMIT %s"
        )
        rankings: list[Ranking] = []
        for vector in vectors:
            text = _as_text(vector)
            values = (text, _filter_labels(where), text, k) if where else (text, text, k)
            rankings.append([(i, float(s)) for i, s in self._db.execute(sql, values).fetchall()])
        return rankings

    def matching(self, queries: Sequence[str], k: int, where: MetadataFilter = ()) -> list[Ranking]:
        """See `IndexReader`. Words are stemmed as in the index."""
        stemmer = json.loads(self.facts()["settings"])["stemmer"]
        rankings: list[Ranking] = []
        for query in queries:
            values = (
                CONFIGURATIONS[stemmer],
                searchable(query).replace("\0", " "),
                _filter_labels(where),
                k,
            )
            rankings.append([(i, float(s)) for i, s in self._db.execute(MATCH, values).fetchall()])
        return rankings

    def passages(self, ids: Sequence[str]) -> list[Passage]:
        """See `IndexReader`."""
        sql = "SELECT id, source, text, place FROM passages WHERE id = ANY(%s)"
        found = {r[0]: as_passage(*r) for r in self._db.execute(sql, (list(ids),)).fetchall()}
        return [found[i] for i in ids]

    def vectors(self, ids: Sequence[str]) -> dict[str, Vectors]:
        """See `IndexReader`."""
        if "dimension" not in self.facts() or not self.facts()["dimension"]:
            return {}
        sql = "SELECT id, vector::text FROM passages WHERE id = ANY(%s) AND vector IS NOT NULL"
        rows = self._db.execute(sql, (list(ids),)).fetchall()
        return {i: np.array(json.loads(v), np.float32) for i, v in rows}


class PostgresWriter:
    """Writes by one connection, which has the lock."""

    def __init__(self, db: Any, configuration: str, dense: bool) -> None:
        self._db, self._configuration, self._dense = db, configuration, dense

    def facts(self) -> dict[str, str]:
        """See `IndexWriter`."""
        return PostgresReader(self._db).facts()

    def documents(self) -> dict[str, StoredDocument]:
        """See `IndexWriter`."""
        rows = self._db.execute("SELECT source, digest, origin, stamp FROM files").fetchall()
        return {r[0]: StoredDocument(r[1], r[2], tuple(r[3])) for r in rows}

    def without_vector(self, ids: Sequence[str]) -> set[str]:
        """See `IndexWriter`."""
        sql = (
            "SELECT id FROM computed WHERE id = ANY(%s) UNION "
            "SELECT id FROM passages WHERE id = ANY(%s) AND vector IS NOT NULL"
        )
        known = {i for (i,) in self._db.execute(sql, (list(ids), list(ids))).fetchall()}
        return set(ids) - known

    def keep_computed(self, ids: Sequence[str], vectors: Vectors) -> None:
        """See `IndexWriter`."""
        rows = [(i, _as_text(v)) for i, v in zip(ids, vectors, strict=True)]
        with self._db.transaction(), self._db.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO computed VALUES (%s, %s::vector) ON CONFLICT (id) DO NOTHING", rows
            )

    def publish(self, update: IndexUpdate) -> None:
        """See `IndexWriter`."""
        with self._db.transaction(), self._db.cursor() as cursor:
            replaced = update.replaced
            if self._dense:  # keep the vectors of passages that do not change
                cursor.execute(
                    "INSERT INTO computed SELECT id, vector FROM passages WHERE source = ANY(%s) "
                    "AND vector IS NOT NULL ON CONFLICT (id) DO NOTHING",
                    (replaced,),
                )
            cursor.execute("DELETE FROM passages WHERE source = ANY(%s)", (replaced,))
            cursor.execute("DELETE FROM files WHERE source = ANY(%s)", (replaced,))
            cursor.executemany(
                "INSERT INTO files VALUES (%s, %s, %s, %s) ON CONFLICT (source) DO UPDATE SET "
                "digest = excluded.digest, origin = excluded.origin, stamp = excluded.stamp",
                [(n, d.digest, d.origin, list(d.stamp)) for n, d in update.records.items()],
            )
            new = update.passages
            cursor.executemany(
                INSERT_PASSAGE.format(column="", value=""), [self._row(p) for p in new]
            )
            ids = [p.id for p in new]
            if self._dense:
                cursor.execute(
                    "UPDATE passages SET vector = c.vector FROM computed c "
                    "WHERE passages.id = c.id AND passages.id = ANY(%s)",
                    (ids,),
                )
            cursor.execute(
                "UPDATE passages SET length = w.length FROM (SELECT number, sum(times) AS length "
                "FROM words JOIN passages USING (number) WHERE id = ANY(%s) GROUP BY number) w "
                "WHERE passages.number = w.number",
                (ids,),
            )
            cursor.executemany(
                "INSERT INTO facts VALUES (%s, %s) ON CONFLICT (key) DO UPDATE SET "
                "value = excluded.value",
                list(update.facts.items()),
            )
            cursor.execute("DELETE FROM computed")

    def passages(self) -> int:
        """See `IndexWriter`."""
        return int(self._db.execute("SELECT count(*) FROM passages").fetchone()[0])

    def _row(self, p: Passage) -> tuple[Any, ...]:
        # PostgreSQL stores no null characters.
        text, header = p.text.replace("\0", " "), p.header.replace("\0", " ")
        place = json.dumps(place_of(p)).replace("\\u0000", " ")
        labels = [label.replace("\0", " ") for label in metadata_labels(p)]
        words = searchable(f"{header} {text}")
        return p.id, p.source, text, place, labels, self._configuration, words

    def update_graph(self) -> None:
        """Build a graph over the vectors once there are many; readers work without it meanwhile."""
        width = self.facts().get("dimension") or "0"
        if not self._dense or self.passages() < GRAPH_FROM or int(width) > MOST_DIMENSIONS:
            return
        self._db.execute(
            "CREATE INDEX IF NOT EXISTS passages_vector ON passages "
            "USING hnsw (vector vector_ip_ops) WITH (m = 16, ef_construction = 100)"
        )


def _as_text(vector: Vectors) -> str:
    return "[" + ",".join(map(repr, vector.astype(np.float64).tolist())) + "]"


def _filter_labels(where: MetadataFilter) -> list[str]:
    return [f"{k}={v}" for k, v in where]
