"""PostgreSQL with pgvector: an index is a schema, a publication one transaction.

BM25 (Robertson and Zaragoza 2009, equation 3.15) is computed in SQL from PostgreSQL's own lexemes,
since its ranking functions know nothing of how rare a word is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from luthier.errors import StorageError, UserError
from luthier.retrieval.index_store import (
    GRAPH_FROM,
    Dimension,
    Edition,
    Ranking,
    StoredDocument,
    Vectors,
    Where,
    as_passage,
    labels_of,
    place_of,
)
from luthier.retrieval.types import IndexSettings, Passage

VERSION = 1
MOST_DIMENSIONS = 2000  # of pgvector's graph
CONFIGURATIONS = {"english": "english", "none": "simple"}
SCHEMA = """
CREATE TABLE facts (key text PRIMARY KEY, value text NOT NULL);
CREATE TABLE files (source text PRIMARY KEY, digest text NOT NULL, origin text NOT NULL,
    stamp bigint[] NOT NULL);
CREATE TABLE passages (number bigserial PRIMARY KEY, id text UNIQUE NOT NULL, source text NOT NULL,
    text text NOT NULL, place jsonb NOT NULL, labels text[] NOT NULL, length int NOT NULL
    {vector});
CREATE INDEX passages_source ON passages (source);
CREATE INDEX passages_labels ON passages USING gin (labels);
CREATE TABLE words (lexeme text NOT NULL, number bigint NOT NULL REFERENCES passages
    ON DELETE CASCADE, times int NOT NULL, PRIMARY KEY (lexeme, number));
CREATE INDEX words_number ON words (number);
CREATE TABLE computed (id text PRIMARY KEY {vector});
"""
INSERTED = """
WITH new AS (
    INSERT INTO passages (id, source, text, place, labels, length {column})
    VALUES (%s, %s, %s, %s, %s, 0 {value}) ON CONFLICT (id) DO NOTHING RETURNING number
), cut AS (
    SELECT number, lexeme, cardinality(positions) AS times
    FROM new, unnest(to_tsvector(%s::regconfig, %s))
)
INSERT INTO words (lexeme, number, times) SELECT lexeme, number, times FROM cut
"""
MATCHED = """
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


class PostgresStore:
    """`postgresql://HOST/DATABASE#INDEX`; INDEX is "luthier" unless given."""

    name = "postgresql"

    def __init__(self, address: str) -> None:
        """UserError for an index name that is none, or where psycopg is missing."""
        self.where = address
        self.url, _, name = address.partition("#")
        self.index = name or "luthier"
        if not re.fullmatch(r"[a-z_][a-z0-9_]{0,40}", self.index):
            raise UserError(
                f"{self.index!r} is no name for an index in PostgreSQL",
                next_step="Lower-case letters, digits and _: postgresql://HOST/DATABASE#handbook.",
            )

    @contextmanager
    def reading(self) -> Iterator[PostgresReader]:
        """One snapshot of the server's."""
        with self._connected() as db:
            self._check(db)
            db.execute("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield PostgresReader(db)
            db.execute("COMMIT")

    @contextmanager
    def writing(self, settings: IndexSettings, dimension: Dimension) -> Iterator[PostgresWriter]:
        """The lock is the connection's and dies with it."""
        with self._connected() as db:
            key = f"luthier:{self.index}"
            ask = "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))"
            if not db.execute(ask, (key,)).fetchone()[0]:
                raise StorageError(
                    f"{self.where} is in use by another luthier",
                    next_step="Wait for it to end, or choose another --into.",
                )
            if self._is_there(db):
                self._check(db)
            else:
                _make(db, self.index, None if dimension is None else dimension())
            writer = PostgresWriter(db, CONFIGURATIONS[settings.stemmer], dimension is not None)
            yield writer
            writer.follow()

    def bytes(self) -> int | None:
        """The server's disk is its own."""
        return None

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        try:
            import psycopg
        except ImportError as error:
            raise UserError(
                "PostgreSQL needs psycopg, which is not installed",
                next_step="pip install 'luthier[postgresql]'",
            ) from error
        try:
            with psycopg.connect(self.url, autocommit=True, connect_timeout=10) as db:
                db.execute(f'SET search_path TO "{self.index}", public')
                yield db
        except psycopg.Error as error:
            said = str(error).strip().splitlines() or [type(error).__name__]
            raise StorageError(
                f"{self.where}: {said[0]}",
                next_step="See that the server is up and lets you in, then run the same again: "
                "what was published is whole, and what was computed is kept.",
            ) from error

    def _is_there(self, db: Any) -> bool:
        return db.execute("SELECT to_regclass('facts')").fetchone()[0] is not None

    def _check(self, db: Any) -> None:
        if not self._is_there(db):
            raise UserError(
                f"No index in {self.where}",
                next_step=f"Make one: luthier index docs/ --into '{self.where}'",
            )
        found = db.execute("SELECT value FROM facts WHERE key = 'version'").fetchone()
        if found is not None and int(found[0]) > VERSION:
            raise StorageError(
                f"The index in {self.where} is of version {found[0]}, newer than this luthier "
                f"reads ({VERSION})",
                next_step="Update luthier, or make the index anew under another name.",
            )


def _make(db: Any, index: str, dimension: int | None) -> None:
    with db.transaction():
        vector = ""
        if dimension is not None:
            db.execute("CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public")
            vector = f", vector vector({dimension})"
        db.execute(f'CREATE SCHEMA IF NOT EXISTS "{index}"')
        db.execute(SCHEMA.format(vector=vector))
        db.execute("INSERT INTO facts VALUES ('version', %s)", (str(VERSION),))


class PostgresReader:
    """A read-only transaction."""

    def __init__(self, db: Any) -> None:
        self._db = db

    def facts(self) -> dict[str, str]:
        """See `Reader`."""
        return dict(self._db.execute("SELECT key, value FROM facts").fetchall())

    def counts(self) -> tuple[int, int]:
        """See `Reader`."""
        ask = "SELECT (SELECT count(*) FROM passages), (SELECT count(*) FROM files)"
        one, two = self._db.execute(ask).fetchone()
        return one, two

    def nearest(self, vectors: Vectors, k: int, where: Where = ()) -> list[Ranking]:
        """Through pgvector's graph where the index is large, else exact."""
        self._db.execute(f"SET LOCAL hnsw.ef_search = {min(max(100, 2 * k), 1000)}")
        self._db.execute("SET LOCAL hnsw.iterative_scan = strict_order")  # for filters
        ask = (
            "SELECT id, -(vector <#> %s::vector) FROM passages WHERE "
            f"vector IS NOT NULL{' AND labels @> %s' if where else ''} "
            "ORDER BY vector <#> %s::vector LIMIT %s"
        )
        out: list[Ranking] = []
        for vector in vectors:
            text = _written(vector)
            values = (text, _labels(where), text, k) if where else (text, text, k)
            out.append([(i, float(s)) for i, s in self._db.execute(ask, values).fetchall()])
        return out

    def matching(self, queries: Sequence[str], k: int, where: Where = ()) -> list[Ranking]:
        """See `Reader`. Words are stemmed as the index was made."""
        stemmer = json.loads(self.facts()["settings"])["stemmer"]
        out: list[Ranking] = []
        for query in queries:
            asked = (CONFIGURATIONS[stemmer], query.replace("\0", " "), _labels(where), k)
            out.append([(i, float(s)) for i, s in self._db.execute(MATCHED, asked).fetchall()])
        return out

    def passages(self, ids: Sequence[str]) -> list[Passage]:
        """See `Reader`."""
        ask = "SELECT id, source, text, place FROM passages WHERE id = ANY(%s)"
        found = {r[0]: as_passage(*r) for r in self._db.execute(ask, (list(ids),)).fetchall()}
        return [found[i] for i in ids]

    def vectors(self, ids: Sequence[str]) -> dict[str, Vectors]:
        """See `Reader`."""
        if "dimension" not in self.facts() or not self.facts()["dimension"]:
            return {}
        ask = "SELECT id, vector::text FROM passages WHERE id = ANY(%s) AND vector IS NOT NULL"
        rows = self._db.execute(ask, (list(ids),)).fetchall()
        return {i: np.array(json.loads(v), np.float32) for i, v in rows}


class PostgresWriter:
    """One connection, which holds the lock."""

    def __init__(self, db: Any, configuration: str, dense: bool) -> None:
        self._db, self._configuration, self._dense = db, configuration, dense

    def facts(self) -> dict[str, str]:
        """See `Writer`."""
        return PostgresReader(self._db).facts()

    def held(self) -> dict[str, StoredDocument]:
        """See `Writer`."""
        rows = self._db.execute("SELECT source, digest, origin, stamp FROM files").fetchall()
        return {r[0]: StoredDocument(r[1], r[2], tuple(r[3])) for r in rows}

    def without_vector(self, ids: Sequence[str]) -> set[str]:
        """See `Writer`."""
        ask = (
            "SELECT id FROM computed WHERE id = ANY(%s) UNION "
            "SELECT id FROM passages WHERE id = ANY(%s) AND vector IS NOT NULL"
        )
        known = {i for (i,) in self._db.execute(ask, (list(ids), list(ids))).fetchall()}
        return set(ids) - known

    def keep_computed(self, ids: Sequence[str], vectors: Vectors) -> None:
        """See `Writer`."""
        rows = [(i, _written(v)) for i, v in zip(ids, vectors, strict=True)]
        with self._db.transaction(), self._db.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO computed VALUES (%s, %s::vector) ON CONFLICT (id) DO NOTHING", rows
            )

    def publish(self, edition: Edition) -> None:
        """See `Writer`."""
        with self._db.transaction(), self._db.cursor() as do:
            left = list({*edition.gone, *edition.new})
            if self._dense:  # vectors of passages that stay as they are
                do.execute(
                    "INSERT INTO computed SELECT id, vector FROM passages WHERE source = ANY(%s) "
                    "AND vector IS NOT NULL ON CONFLICT (id) DO NOTHING",
                    (left,),
                )
            do.execute("DELETE FROM passages WHERE source = ANY(%s)", (left,))
            do.execute("DELETE FROM files WHERE source = ANY(%s)", (left,))
            held = {n: h for n, (h, _) in edition.new.items()} | dict(edition.restamped)
            do.executemany(
                "INSERT INTO files VALUES (%s, %s, %s, %s) ON CONFLICT (source) DO UPDATE SET "
                "digest = excluded.digest, origin = excluded.origin, stamp = excluded.stamp",
                [(n, h.digest, h.origin, list(h.stamp)) for n, h in held.items()],
            )
            new = [p for _, passages in edition.new.values() for p in passages]
            do.executemany(INSERTED.format(column="", value=""), [self._row(p) for p in new])
            ids = [p.id for p in new]
            if self._dense:
                do.execute(
                    "UPDATE passages SET vector = c.vector FROM computed c "
                    "WHERE passages.id = c.id AND passages.id = ANY(%s)",
                    (ids,),
                )
            do.execute(
                "UPDATE passages SET length = w.length FROM (SELECT number, sum(times) AS length "
                "FROM words JOIN passages USING (number) WHERE id = ANY(%s) GROUP BY number) w "
                "WHERE passages.number = w.number",
                (ids,),
            )
            do.executemany(
                "INSERT INTO facts VALUES (%s, %s) ON CONFLICT (key) DO UPDATE SET "
                "value = excluded.value",
                list(edition.facts.items()),
            )
            do.execute("DELETE FROM computed")

    def passages(self) -> int:
        """See `Writer`."""
        return int(self._db.execute("SELECT count(*) FROM passages").fetchone()[0])

    def _row(self, p: Passage) -> tuple[Any, ...]:
        # PostgreSQL keeps no null character.
        text, header = p.text.replace("\0", " "), p.header.replace("\0", " ")
        place = json.dumps(place_of(p)).replace("\\u0000", " ")
        labels = [label.replace("\0", " ") for label in labels_of(p)]
        words = f"{header} {text}"
        return p.id, p.source, text, place, labels, self._configuration, words

    def follow(self) -> None:
        """A graph over the vectors once there are many. Readers go on without it meanwhile."""
        width = self.facts().get("dimension") or "0"
        if not self._dense or self.passages() < GRAPH_FROM or int(width) > MOST_DIMENSIONS:
            return
        self._db.execute(
            "CREATE INDEX IF NOT EXISTS passages_vector ON passages "
            "USING hnsw (vector vector_ip_ops) WITH (m = 16, ef_construction = 100)"
        )


def _written(vector: Vectors) -> str:
    return "[" + ",".join(map(repr, vector.astype(np.float64).tolist())) + "]"


def _labels(where: Where) -> list[str]:
    return [f"{k}={v}" for k, v in where]
