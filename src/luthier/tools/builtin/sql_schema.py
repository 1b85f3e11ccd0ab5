"""The schema of a database in the few words that a model is shown."""

from __future__ import annotations

from typing import Any

MOST_TABLES = 40
MOST_COLUMNS = 30

_COLUMNS = """
SELECT table_name, column_name, data_type FROM information_schema.columns
WHERE table_schema NOT IN ('information_schema', 'pg_catalog') ORDER BY table_name, ordinal_position
"""


def schema_words(engine: Any) -> str:
    """`orders(id INTEGER, placed DATE); items(…)`: tables, columns and their types."""
    tables = _sqlite_columns(engine) if engine.dialect.name == "sqlite" else _columns(engine)
    words = []
    for table, columns in list(tables.items())[:MOST_TABLES]:
        more = ", …" if len(columns) > MOST_COLUMNS else ""
        words.append(f"{table}({', '.join(columns[:MOST_COLUMNS])}{more})")
    if len(tables) > MOST_TABLES:
        words.append(f"and {len(tables) - MOST_TABLES} tables more")
    return "; ".join(words) or "none"


def _columns(engine: Any) -> dict[str, list[str]]:
    tables: dict[str, list[str]] = {}
    with engine.connect() as connection:
        for table, column, kind in connection.exec_driver_sql(_COLUMNS).fetchmany(5_000):
            tables.setdefault(table, []).append(f"{column} {kind}")
    return tables


def _sqlite_columns(engine: Any) -> dict[str, list[str]]:
    names = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY rowid"
    tables: dict[str, list[str]] = {}
    with engine.connect() as connection:
        for (table,) in connection.exec_driver_sql(names).fetchall():
            if str(table).startswith("sqlite_"):
                continue
            quoted = str(table).replace('"', '""')
            found = connection.exec_driver_sql(f'PRAGMA table_info("{quoted}")').fetchall()
            tables[str(table)] = [f"{row[1]} {row[2]}".strip() for row in found]
    return tables
