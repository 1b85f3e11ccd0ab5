"""Databases that can only be read, each held to it in its own way."""

from __future__ import annotations

import sqlite3
import tempfile
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from luthier.errors import UserError, from_extra

DIALECTS = ("sqlite", "postgresql", "duckdb")
LOCK_SECONDS = 2.0  # how long a locked database is waited for
_READS = {
    sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE,
}  # fmt: skip
_REFUSED_FUNCTIONS = {"load_extension", "readfile", "writefile", "edit", "fts3_tokenizer"}


def open_engine(address: str, *, seconds: float) -> Any:
    """The engine of a URL, whose queries end after `seconds`.

    UserError for a database that is none of the three, or where a library is missing.
    """
    with from_extra("tools", "sql needs SQLAlchemy"):
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError
    if not address:
        raise UserError("sql names no database", next_step="Write sql:sqlite:///shop.db.")
    if "://" not in address:
        address = f"sqlite:///{address}"
    if address.startswith("sqlite:///") and address.endswith(".sql"):
        return _script(Path(address.removeprefix("sqlite:///")), seconds)
    try:
        url = make_url(address)
    except ArgumentError as error:
        raise UserError(
            f"sql:{address} is no address of a database",
            choices=("sqlite:///shop.db", "postgresql://host/db", "duckdb:///shop.duckdb"),
        ) from error
    dialect = url.get_backend_name()
    if dialect == "sqlite":
        return _sqlite(url, seconds)
    if dialect in ("postgresql", "postgres"):
        return _postgresql(url, seconds)
    if dialect == "duckdb":
        return _duckdb(url, seconds)
    raise UserError(
        f"sql reads no database of kind {dialect!r}: read-only could not be enforced there",
        choices=DIALECTS,
    )


def _file(url: Any) -> Path:
    path = Path(url.database or "")
    if not url.database or url.database == ":memory:" or not path.is_file():
        raise UserError(
            f"there is no database file {url.database or ''!r}",
            next_step="Give the path of a file that is there: sql:sqlite:///shop.db.",
        )
    return path.resolve()


def _script(path: Path, seconds: float) -> Any:
    """A SQLite database made from a file of statements, which stays as it is."""
    from sqlalchemy.engine import make_url

    folder = tempfile.TemporaryDirectory(prefix="luthier-sql-")
    made = Path(folder.name) / f"{path.stem}.db"
    try:
        statements = path.read_text("utf-8")
        connection = sqlite3.connect(made)
        try:
            connection.executescript(statements)
            connection.commit()
        finally:
            connection.close()
    except (OSError, UnicodeDecodeError, sqlite3.Error) as error:
        folder.cleanup()
        raise UserError(
            f"{path} cannot be made a database: {error}",
            next_step="Give a file of SQL statements as SQLite reads them.",
        ) from error
    engine = _sqlite(make_url(f"sqlite:///{made}"), seconds)
    weakref.finalize(engine, folder.cleanup)
    return engine


def _sqlite(url: Any, seconds: float) -> Any:
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    path = _file(url)

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{path.as_uri()}?mode=ro", uri=True, timeout=LOCK_SECONDS, check_same_thread=False
        )
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000_000)
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        ends = time.monotonic() + seconds
        connection.set_progress_handler(lambda: int(time.monotonic() > ends), 10_000)
        connection.set_authorizer(_only_reads)
        return connection

    return create_engine("sqlite://", creator=connect, poolclass=NullPool)


def _only_reads(
    action: int, first: str | None, second: str | None, database: str | None, inner: str | None
) -> int:
    """SQLite's authorizer: what a statement may do is decided before it runs."""
    if action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in _REFUSED_FUNCTIONS:
        return sqlite3.SQLITE_DENY
    if action in _READS or action == sqlite3.SQLITE_TRANSACTION:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_PRAGMA and first in ("table_info", "foreign_key_list"):
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_PRAGMA and first == "read_uncommitted" and second is None:
        return sqlite3.SQLITE_OK  # SQLAlchemy asks for the level of isolation, and sets none
    return sqlite3.SQLITE_DENY


def _postgresql(url: Any, seconds: float) -> Any:
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    options = f"-c statement_timeout={int(seconds * 1000)} -c default_transaction_read_only=on"
    # A prepared statement is a single one; a connection of its own keeps no settings for the next.
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        connect_args={"connect_timeout": 10, "options": options, "prepare_threshold": 0},
        poolclass=NullPool,
    )
    with engine.connect() as connection:
        role, above = connection.exec_driver_sql(
            "SELECT current_user, rolsuper FROM pg_roles WHERE rolname = current_user"
        ).one()
    if above:
        raise UserError(
            f"the role {role} is a superuser, which no read-only transaction holds",
            next_step="Make a role that may only read: CREATE ROLE reader LOGIN; "
            "GRANT pg_read_all_data TO reader;",
        )
    return engine


def _duckdb(url: Any, seconds: float) -> Any:
    with from_extra("tools", "sql needs duckdb for this database"):
        import duckdb
    path = _file(url)
    return DuckEngine(lambda: _read_only_duckdb(duckdb, path), url, seconds)


def _read_only_duckdb(duckdb: Any, path: Path) -> Any:
    connection = duckdb.connect(str(path), read_only=True)
    for setting in (
        "SET enable_external_access = false",
        "SET autoinstall_known_extensions = false",
        "SET memory_limit = '512MB'",
        "SET lock_configuration = true",
    ):
        connection.execute(setting)
    return connection


class DuckEngine:
    """As much of an SQLAlchemy engine as `sql` uses, over DuckDB's own connections.

    The dialect for SQLAlchemy asks catalogs that DuckDB closes when external access is off.
    """

    def __init__(self, connect: Callable[[], Any], url: Any, seconds: float) -> None:
        self._open, self.url, self._seconds = connect, url, seconds
        self.dialect = type("Dialect", (), {"name": "duckdb"})()

    def connect(self) -> DuckConnection:
        """A connection of its own for each query."""
        return DuckConnection(self._open(), self._seconds)

    def dispose(self) -> None:
        """Nothing stays open between queries."""


class DuckConnection:
    """One query's connection. It is interrupted after its time."""

    returns_rows = True

    def __init__(self, connection: Any, seconds: float) -> None:
        self._connection = connection
        self._timer = threading.Timer(seconds, connection.interrupt)
        self._timer.daemon = True
        self._timer.start()

    def exec_driver_sql(self, text: str) -> DuckConnection:
        """Run a query; DBAPIError as SQLAlchemy raises it."""
        import duckdb
        from sqlalchemy.exc import DBAPIError

        try:
            statements = self._connection.extract_statements(text)
            if len(statements) != 1:
                raise DBAPIError(text, None, ValueError("one statement at a time"))
            if statements[0].type != duckdb.StatementType.SELECT:
                raise DBAPIError(text, None, ValueError("only SELECT is possible"))
            self._connection.execute(text)
        except duckdb.Error as error:
            raise DBAPIError(text, None, error) from error
        return self

    def keys(self) -> list[str]:
        """The names of the columns."""
        return [column[0] for column in self._connection.description]

    def fetchmany(self, count: int) -> list[Any]:
        """The first rows."""
        return list(self._connection.fetchmany(count))

    def rollback(self) -> None:
        """Nothing was written."""

    def __enter__(self) -> DuckConnection:
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._connection.close()
