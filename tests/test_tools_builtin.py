"""The calculator, the clock, and databases that can only be read."""

from __future__ import annotations

import sqlite3

import pytest

from luthier.content import ToolCall
from luthier.errors import UserError
from luthier.tools import open_toolbox
from luthier.tools.builtin.calculator import calculate
from tests.postgres_server import postgres

SHOP = """
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT, placed DATE, amount REAL);
INSERT INTO orders VALUES (1, 'Ada', '2026-05-01', 20.5), (2, 'Bo', '2026-05-09', 7);
"""


def ask(box, name, **arguments):
    return box.start("").run([ToolCall(name, arguments)])[0]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("17 % of 2,350?", "399.5"),
        ("0.1 + 0.2", "0.3"),
        ("(3 + 4) * 2 =", "14"),
        ("2 ^ 10", "1024"),
        ("7 x 6", "42"),
        ("15% of 80 + 1", "13"),
        ("100 + 5%", "100.05"),
        ("17 % 5", "2"),
        ("round(2.567, 1)", "2.6"),
        ("sqrt(2) ** 2", "2"),
        ("max(3, 9, 4) - min(1, 2)", "8"),
        ("mean(1, 2, 3, 4)", "2.5"),
        ("1,234,567 + 1", "1234568"),
        ("-3 × −2", "6"),
    ],
)
def test_the_calculator_calculates(expression, value) -> None:
    assert calculate(expression) == value


@pytest.mark.parametrize(
    "expression",
    [
        "9 ** 9 ** 9 ** 9", "__import__('os').system('id')", "().__class__", "1 / 0", "'a' * 9",
        "open('/etc/passwd')", "x", "", "[1] * 10**9", "lambda: 1", "round(1, 2, 3)",
        "a.b", "0x" + "f" * 400, "1 if 1 else 2", "sqrt(-1)", "f'{1}'",
    ],
)  # fmt: skip
def test_the_calculator_does_nothing_else(expression) -> None:
    with pytest.raises(ValueError):
        calculate(expression)


def test_the_clock_can_stand_still() -> None:
    with open_toolbox(["clock:2026-05-31T09:00"]) as box:
        assert ask(box, "now", zone="Europe/Paris").text == "Sunday 2026-05-31 11:00 (Europe/Paris)"
        assert ask(box, "days_between", first="2026-02-27", last="2026-03-01").text == "2"
        assert ask(box, "add_days", date="2024-02-28", days=1).text == "Thursday 2024-02-29"
        for wrong in (
            ask(box, "now", zone="Mars/Base"), ask(box, "days_between", first="x", last="y"),
            ask(box, "add_days", date="9999-12-31", days=10), ask(box, "now", zone="../x"),
        ):  # fmt: skip
            assert wrong.failed
    with pytest.raises(UserError, match="no moment"):
        open_toolbox(["clock:soon"])


def make_sqlite(folder):
    path = folder / "shop.db"
    connection = sqlite3.connect(path)
    connection.executescript(SHOP)
    connection.close()
    return f"sql:sqlite:///{path}", path


def make_duckdb(folder):
    duckdb = pytest.importorskip("duckdb")
    path = folder / "shop.duckdb"
    connection = duckdb.connect(str(path))
    connection.execute(SHOP)
    connection.close()
    return f"sql:duckdb:///{path}", path


WRITES = [
    "DELETE FROM orders",
    "UPDATE orders SET amount = 0",
    "INSERT INTO orders VALUES (3, 'C', '2026-05-03', 1)",
    "DROP TABLE orders",
    "CREATE TABLE other (a INTEGER)",
    "CREATE TEMP TABLE other (a INTEGER)",
    "SELECT 1; DELETE FROM orders",
    "COMMIT; DELETE FROM orders",
    "VACUUM",
]
SQLITE_ESCAPES = [
    "ATTACH DATABASE '/tmp/other.db' AS other",
    "PRAGMA query_only = OFF",
    "PRAGMA writable_schema = ON",
    "PRAGMA journal_mode = DELETE",
    "SELECT load_extension('/tmp/x.so')",
    "VACUUM INTO '/tmp/copy.db'",
    "SELECT writefile('/tmp/x', 'a')",
]
DUCKDB_ESCAPES = [
    "COPY orders TO '/tmp/copy.csv'",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM '/etc/passwd'",
    "ATTACH '/tmp/other.duckdb'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access = true",
    "EXPORT DATABASE '/tmp/all'",
    "SELECT * FROM glob('/etc/*')",
]


@pytest.mark.parametrize(
    ("make", "escapes"), [(make_sqlite, SQLITE_ESCAPES), (make_duckdb, DUCKDB_ESCAPES)]
)
def test_a_database_is_read_and_refuses_to_write(tmp_path, make, escapes) -> None:
    address, path = make(tmp_path)
    before = path.read_bytes()
    with open_toolbox([address]) as box:
        assert "orders(id INTEGER" in box.tools[0].description
        found = ask(box, "sql", query="SELECT customer, amount FROM orders ORDER BY id;")
        assert found.text.splitlines() == ["customer | amount", "Ada | 20.5", "Bo | 7.0"]
        for statement in (*WRITES, *escapes):
            result = ask(box, "sql", query=statement)
            assert result.failed, (statement, result.text)
        assert (
            "no such table" in ask(box, "sql", query="SELECT * FROM nowhere").text
            or make is make_duckdb
        )
        assert ask(box, "sql", query="SELECT count(*) FROM orders").text.endswith("2")
    assert path.read_bytes() == before


@pytest.mark.parametrize("make", [make_sqlite, make_duckdb])
def test_a_query_that_takes_too_long_is_ended_and_rows_are_counted(
    tmp_path, make, monkeypatch
) -> None:
    monkeypatch.setattr("luthier.tools.builtin.sql.QUERY_SECONDS", 0.3)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    many = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<99) SELECT i FROM n"
    )
    address, _ = make(tmp_path)
    with open_toolbox([address]) as box:
        result = ask(box, "sql", query=endless)
        assert result.failed
        assert "seconds and was ended" in result.text
        assert ask(box, "sql", query=many).text.endswith("(only the first 50 rows are shown)")


def test_a_locked_database_is_told(tmp_path) -> None:
    address, path = make_sqlite(tmp_path)
    with open_toolbox([address]) as box:
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
        result = ask(box, "sql", query="SELECT * FROM orders")
        holder.execute("ROLLBACK")
        holder.close()
        assert result.failed
        assert "locked" in result.text
        assert not ask(box, "sql", query="SELECT * FROM orders").failed


def test_a_file_of_statements_is_a_database(tmp_path) -> None:
    (tmp_path / "shop.sql").write_text(SHOP)
    with open_toolbox([f"sql:{tmp_path / 'shop.sql'}"]) as box:
        assert ask(box, "sql", query="SELECT sum(amount) FROM orders").text.endswith("27.5")
        assert ask(box, "sql", query="DELETE FROM orders").failed
    (tmp_path / "bad.sql").write_text("CREATE nonsense")
    with pytest.raises(UserError, match="cannot be made a database"):
        open_toolbox([f"sql:{tmp_path / 'bad.sql'}"])


def test_addresses_of_no_database_are_refused(tmp_path) -> None:
    (tmp_path / "text.db").write_text("not a database at all, but long enough to be looked at")
    for address, word in (
        ("sql:", "names no database"),
        ("sql:sqlite:///nowhere.db", "no database file"),
        ("sql:mysql://host/db", "no database of kind 'mysql'"),
        (f"sql:{tmp_path / 'text.db'}", "cannot be read"),
        ("sql:duckdb:///nowhere.duckdb", "no database file"),
    ):
        with pytest.raises(UserError, match=word):
            open_toolbox([address])


POSTGRES_ESCAPES = [
    "COPY orders TO '/tmp/copy.csv'",
    "COPY (SELECT 1) TO PROGRAM 'id'",
    "DO $$ BEGIN DELETE FROM orders; END $$",
    "SET TRANSACTION READ WRITE",
    "SET default_transaction_read_only = off",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT set_config('transaction_read_only', 'off', false); DELETE FROM orders",
    "WITH gone AS (DELETE FROM orders RETURNING *) SELECT * FROM gone",
    "SELECT lo_import('/etc/passwd')",
    "RESET ROLE",
]


@pytest.mark.slow
def test_postgresql_is_read_and_refuses_to_write(tmp_path) -> None:
    psycopg = pytest.importorskip("psycopg")
    with postgres(tmp_path / "pg") as url, psycopg.connect(url, autocommit=True) as admin:
        admin.execute("DROP SCHEMA public CASCADE")
        admin.execute("CREATE SCHEMA public")
        for statement in SHOP.split(";"):
            if statement.strip():
                admin.execute(statement)
        with pytest.raises(UserError, match="superuser"):
            open_toolbox([f"sql:{url}"])
        admin.execute("DROP ROLE IF EXISTS reader")
        admin.execute("CREATE ROLE reader LOGIN")
        # It may write as far as the database goes: what holds is the transaction.
        admin.execute("GRANT USAGE ON SCHEMA public TO reader")
        admin.execute("GRANT ALL ON orders TO reader")
        address = url.replace("postgres@", "reader@").replace("postgres:@", "reader@")
        address = address if "reader" in address else address.replace("://", "://reader@")
        with open_toolbox([f"sql:{address}"]) as box:
            assert "orders(id integer" in box.tools[0].description
            found = ask(box, "sql", query="SELECT customer, amount FROM orders ORDER BY id;")
            assert found.text.splitlines()[1:] == ["Ada | 20.5", "Bo | 7.0"]
            for statement in (*WRITES, *POSTGRES_ESCAPES):
                result = ask(box, "sql", query=statement)
                assert result.failed, (statement, result.text)
            assert "was ended" in ask(box, "sql", query="SELECT pg_sleep(60)").text
        assert admin.execute("SELECT count(*) FROM orders").fetchone() == (2,)
        admin.execute("DROP OWNED BY reader")
        admin.execute("DROP ROLE reader")
