"""PostgreSQL with pgvector: an index is a schema, a publication one transaction."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from luthier.errors import StorageError, UserError, from_extra
from luthier.retrieval.index_store import Dimension
from luthier.retrieval.stores.postgres_index import CONFIGURATIONS, PostgresReader, PostgresWriter
from luthier.retrieval.types import IndexSettings

VERSION = 1  # of the format
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


class PostgresStore:
    """An index at `postgresql://HOST/DATABASE#INDEX`; INDEX is "luthier" by default."""

    name = "postgresql"

    def __init__(self, address: str) -> None:
        """UserError where the name of the index is not valid."""
        self.address = address
        self.url, _, name = address.partition("#")
        self.index = name or "luthier"
        if not re.fullmatch(r"[a-z_][a-z0-9_]{0,40}", self.index):
            raise UserError(
                f"{self.index!r} is not a name for an index in PostgreSQL",
                next_step="Lower-case letters, digits and _: postgresql://HOST/DATABASE#handbook.",
            )

    @contextmanager
    def reader(self) -> Iterator[PostgresReader]:
        """One snapshot of the server."""
        with self._connected() as db:
            self._check(db)
            db.execute("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield PostgresReader(db)
            db.execute("COMMIT")

    @contextmanager
    def writer(self, settings: IndexSettings, dimension: Dimension) -> Iterator[PostgresWriter]:
        """The lock belongs to the connection and ends with it."""
        with self._connected() as db:
            key = f"luthier:{self.index}"
            sql = "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))"
            if not db.execute(sql, (key,)).fetchone()[0]:
                raise StorageError(
                    f"{self.address} is in use by another luthier",
                    next_step="Wait for it to end, or choose another --into.",
                )
            if self._exists(db):
                self._check(db)
            else:
                _create(db, self.index, None if dimension is None else dimension())
            writer = PostgresWriter(db, CONFIGURATIONS[settings.stemmer], dimension is not None)
            yield writer
            writer.update_graph()

    def bytes(self) -> int | None:
        """None: the server keeps it."""
        return None

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        with from_extra("postgresql", "PostgreSQL needs psycopg, which is not installed"):
            import psycopg
        try:
            with psycopg.connect(self.url, autocommit=True, connect_timeout=10) as db:
                db.execute(f'SET search_path TO "{self.index}", public')
                yield db
        except psycopg.Error as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise StorageError(
                f"{self.address}: {lines[0]}",
                next_step="Check that the server is up and accepts you, then run the same again: "
                "what was published is whole, and what was computed is kept.",
            ) from error

    def _exists(self, db: Any) -> bool:
        return db.execute("SELECT to_regclass('facts')").fetchone()[0] is not None

    def _check(self, db: Any) -> None:
        if not self._exists(db):
            raise UserError(
                f"No index in {self.address}",
                next_step=f"Make one: luthier index docs/ --into '{self.address}'",
            )
        found = db.execute("SELECT value FROM facts WHERE key = 'version'").fetchone()
        if found is not None and int(found[0]) > VERSION:
            raise StorageError(
                f"The index in {self.address} is of version {found[0]}, newer than this luthier "
                f"reads ({VERSION})",
                next_step="Update luthier, or build the index again under another name.",
            )


def _create(db: Any, index: str, dimension: int | None) -> None:
    with db.transaction():
        vector = ""
        if dimension is not None:
            db.execute("CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public")
            vector = f", vector vector({dimension})"
        db.execute(f'CREATE SCHEMA IF NOT EXISTS "{index}"')
        db.execute(SCHEMA.format(vector=vector))
        db.execute("INSERT INTO facts VALUES ('version', %s)", (str(VERSION),))
