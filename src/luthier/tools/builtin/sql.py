"""SQL: one tool that reads a database. That it only reads is enforced by the database itself.

- SQLite is opened with `mode=ro` and `PRAGMA query_only`, and an authorizer admits reading alone:
  no ATTACH, no PRAGMA, no extension. A progress handler ends what takes too long.
- PostgreSQL declares a cursor for the query, which takes a SELECT alone, in a transaction that is
  READ ONLY and rolled back, with a `statement_timeout`. A superuser's role is refused: functions
  that read files or end processes are open to it.
- DuckDB is opened read-only, with external access off and its configuration locked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from luthier.errors import UserError
from luthier.tools.builtin.sql_engines import open_engine
from luthier.tools.builtin.sql_schema import schema_words
from luthier.tools.secret_texts import redacted
from luthier.tools.tool import Tool, ToolCard, ToolSource
from luthier.tools.toolbox import ToolFailure

MOST_ROWS = 50
QUERY_SECONDS = 5.0
MOST_CELL = 400  # characters of one value
LONGEST_QUERY = 4_000


class SqlDatabase:
    """Kind of tools: `sql:URL` with a URL as SQLAlchemy takes it; `sql:shop.db` is SQLite."""

    card: ClassVar[ToolCard] = ToolCard(
        does="asks a database (SQLite, PostgreSQL, DuckDB) in SQL; the schema is shown",
        may="read that database, which refuses to write",
        needs="luthier[tools]; passwords as ${NAME} in the address",
        example="sql:sqlite:///shop.db",
    )

    @classmethod
    def open(cls, address: str) -> ToolSource:
        """The database behind an address. UserError where it cannot be opened."""
        engine = open_engine(address, seconds=QUERY_SECONDS)
        try:
            schema = schema_words(engine)
        except Exception as error:
            engine.dispose()
            raise unreachable(address, error) from error

        def run(arguments: Mapping[str, Any]) -> str:
            return query(engine, str(arguments["query"]))

        parameters = {
            "type": "object",
            "properties": {
                "query": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": LONGEST_QUERY,
                    "description": "one SELECT statement",
                }
            },
            "required": ["query"],
            "additionalProperties": False,
        }
        tool = Tool(
            "sql",
            f"Asks the database ({engine.dialect.name}). Tables: {schema}",
            parameters,
            run,
            private=True,
            origin=f"sql:{redacted(address)}",
        )
        return ToolSource((tool,), close=engine.dispose)


def query(engine: Any, text: str) -> str:
    """The rows of one query as a table in text. ToolFailure in the database's words."""
    from sqlalchemy.exc import DBAPIError, SQLAlchemyError

    try:
        with engine.connect() as connection:
            try:
                if engine.dialect.name == "postgresql":  # a cursor's query is a SELECT
                    connection = connection.execution_options(stream_results=True)
                with connection.exec_driver_sql(text.strip().rstrip(";")) as found:
                    if not found.returns_rows:
                        raise ToolFailure("The statement returns no rows: only SELECT is possible.")
                    names, rows = list(found.keys()), found.fetchmany(MOST_ROWS + 1)
            finally:
                connection.rollback()
    except DBAPIError as error:
        raise ToolFailure(_words(error.orig or error)) from error
    except SQLAlchemyError as error:
        raise ToolFailure(_words(error)) from error
    lines = [" | ".join(map(str, names)), *(_line(row) for row in rows[:MOST_ROWS])]
    if not rows:
        lines.append("(no rows)")
    if len(rows) > MOST_ROWS:
        lines.append(f"(only the first {MOST_ROWS} rows are shown)")
    return "\n".join(lines)


def unreachable(address: str, error: Exception) -> UserError:
    """The error for a database that cannot be opened, in its own words."""
    said = _words(getattr(error, "orig", None) or error)
    return UserError(
        f"the database {redacted(address)} cannot be read: {said}",
        next_step="Check the address, and that the database is there and can be read.",
    )


def _line(row: Any) -> str:
    return " | ".join(_cell(value) for value in row)


def _cell(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bytes | memoryview):
        return f"({len(bytes(value))} bytes)"
    text = str(value).replace("\n", " ")
    return text if len(text) <= MOST_CELL else f"{text[:MOST_CELL]}…"


def _words(error: BaseException) -> str:
    said = " ".join(str(error).split())[:300]
    if said == "interrupted" or "INTERRUPT" in said or "statement timeout" in said:
        return f"The query took more than {QUERY_SECONDS:g} seconds and was ended."
    if "not authorized" in said or "readonly" in said or "read-only" in said:
        return f"The database can only be read: {said}"
    return f"The database says: {said}"
