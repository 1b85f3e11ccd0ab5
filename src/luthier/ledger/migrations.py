"""The tables of the ledger's file, one script for each change of them."""

from __future__ import annotations

MIGRATIONS: tuple[tuple[str, str], ...] = (
    (
        "0002-planned-runs",
        """
        CREATE TABLE comparisons (
            id TEXT PRIMARY KEY, created TEXT NOT NULL, touched TEXT NOT NULL, finished TEXT,
            task TEXT NOT NULL, model TEXT NOT NULL, plan TEXT NOT NULL, prices TEXT NOT NULL,
            provenance TEXT NOT NULL
        );
        CREATE TABLE runs (
            key TEXT PRIMARY KEY, comparison TEXT NOT NULL REFERENCES comparisons(id),
            purpose TEXT NOT NULL, technique TEXT NOT NULL, seed INTEGER NOT NULL,
            status TEXT NOT NULL, started TEXT NOT NULL, finished TEXT,
            result TEXT, artifact TEXT, error TEXT
        );
        CREATE TABLE planned_runs (
            comparison TEXT NOT NULL REFERENCES comparisons(id), key TEXT NOT NULL,
            technique TEXT NOT NULL, purpose TEXT NOT NULL, part TEXT NOT NULL,
            seed INTEGER NOT NULL, PRIMARY KEY (comparison, key)
        );
        CREATE TABLE events (
            id INTEGER PRIMARY KEY AUTOINCREMENT, time TEXT NOT NULL,
            comparison TEXT, run TEXT, kind TEXT NOT NULL, message TEXT NOT NULL
        );
        """,
    ),
    (
        "0003-feedback",
        """
        CREATE TABLE feedback_items (
            id TEXT PRIMARY KEY, created TEXT NOT NULL, prompt TEXT NOT NULL, context TEXT,
            held_out INTEGER NOT NULL, batch TEXT NOT NULL, withdrawn TEXT
        );
        CREATE TABLE feedback_answers (
            id TEXT PRIMARY KEY, item TEXT NOT NULL REFERENCES feedback_items(id),
            place INTEGER NOT NULL, text TEXT NOT NULL, model TEXT, technique TEXT
        );
        CREATE INDEX feedback_answers_of ON feedback_answers(item, place);
        CREATE TABLE opinions (
            number INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE,
            item TEXT NOT NULL REFERENCES feedback_items(id), kind TEXT NOT NULL,
            source TEXT NOT NULL, who TEXT NOT NULL, simulated INTEGER NOT NULL,
            answer TEXT REFERENCES feedback_answers(id),
            other TEXT REFERENCES feedback_answers(id), grade TEXT, value REAL,
            unsafe TEXT NOT NULL, shown TEXT NOT NULL, text TEXT, seconds REAL,
            time TEXT NOT NULL, withdrawn TEXT
        );
        CREATE UNIQUE INDEX one_opinion ON opinions(item, who, kind, source)
            WHERE withdrawn IS NULL;
        CREATE INDEX opinions_of ON opinions(who, item);
        CREATE TABLE feedback_invites (
            token TEXT PRIMARY KEY, who TEXT NOT NULL, kind TEXT NOT NULL,
            created TEXT NOT NULL, expires TEXT, withdrawn TEXT
        );
        CREATE TABLE feedback_models (
            id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, parent TEXT, folder TEXT NOT NULL,
            method TEXT NOT NULL, record TEXT NOT NULL, created TEXT NOT NULL
        );
        """,
    ),
    (
        "0004-advice",
        """
        CREATE TABLE advice_outcomes (
            comparison TEXT PRIMARY KEY REFERENCES comparisons(id), created TEXT NOT NULL,
            outcome TEXT NOT NULL
        );
        """,
    ),
    (
        "0005-launches",
        """
        CREATE TABLE launches (
            comparison TEXT PRIMARY KEY REFERENCES comparisons(id), time TEXT NOT NULL,
            task_file TEXT, working_folder TEXT, arguments TEXT
        );
        """,
    ),
)
# Ledgers from before the records had their present names; they cannot be read any more.
OUTDATED = frozenset({"0001-first"})
