"""The ledger: what ran, with what result, in one SQLite file in WAL mode.

A row of `runs` is written when the run starts, when its fit is saved, and when it ends, each time
in one transaction. A run that is killed in between leaves a row that says "running" or "fitted";
the next start goes on from there. Records are stored as the JSON of frozen dataclasses
(`luthier.serialization`), so that this module imports no other room.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import astuple, dataclass

from luthier.ledger.database import LEDGER_FILE as LEDGER_FILE
from luthier.ledger.database import Database
from luthier.ledger.provenance import now
from luthier.ledger.row_reading import read_row
from luthier.redaction import redact, without_secrets


@dataclass(frozen=True, slots=True)
class StoredComparison:
    """A comparison as the ledger keeps it: `task`, `model`, `plan`, `prices` and `provenance` are
    JSON.

    `touched` is when it was last started, `finished` when nothing was left to do.
    """

    id: str
    created: str
    touched: str
    finished: str | None
    task: str
    model: str
    plan: str
    prices: str
    provenance: str


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A run that belongs to a comparison. Two comparisons in one ledger may share a run.

    `technique` is the name in the plan. `purpose` is "run", "step" (an intermediate step of a
    recipe), "curve" (a point of a learning curve) or "reference" (what needs no language model).
    `part` says which step ("1 few-shot") or which share of the training examples ("0.25"); it is ""
    for a whole run.
    """

    comparison: str
    key: str
    technique: str
    purpose: str
    part: str
    seed: int


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run as the ledger keeps it; `comparison` is the one that made it.

    `status` is "running", "fitted", "finished", "failed", "skipped" or "stopped". `result` is JSON,
    `artifact` the hash of a folder in `ledger.artifacts`, `error` the reason in words.
    """

    key: str
    comparison: str
    purpose: str
    technique: str
    seed: int
    status: str
    started: str
    finished: str | None = None
    result: str | None = None
    artifact: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class StoredOutcome:
    """What became of the advice of a comparison, as JSON."""

    comparison: str
    created: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, for a later reader of the ledger."""

    time: str
    comparison: str | None
    run: str | None
    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class Launch:
    """How a comparison was started, so that it can go on without whoever started it.

    `task_file` is None where the task is bundled or was in memory. `arguments` are those of
    `luthier compare` and `working_folder` is where it was typed; None where the comparison was
    started from Python, or the arguments held a secret.
    """

    comparison: str
    time: str
    task_file: str | None = None
    working_folder: str | None = None
    arguments: tuple[str, ...] | None = None


class Ledger(Database):
    """An open ledger. Use it as a context manager, or call `close`."""

    def start_comparison(self, comparison: StoredComparison) -> None:
        """Add a comparison. Of one that is there already the plan, the prices and the time it was
        touched are updated: whoever resumes it hands its plan back, with today's limits."""
        with self._transaction() as db:
            db.execute(
                "INSERT INTO comparisons VALUES (?,?,?,?,?,?,?,?,?) "
                "ON CONFLICT (id) DO UPDATE "
                "SET touched = excluded.touched, prices = excluded.prices, "
                "plan = excluded.plan",
                astuple(comparison),
            )
            # Its place among the others says when it was last started: a clock may be set back.
            db.execute(
                "UPDATE comparisons SET rowid = (SELECT max(rowid) + 1 FROM comparisons) "
                "WHERE id = ?",
                (comparison.id,),
            )

    def comparison(self, id: str) -> StoredComparison | None:
        """The comparison with that id; None when there is none."""
        rows = self._select("SELECT * FROM comparisons WHERE id = ?", (id,))
        return StoredComparison(*rows[0]) if rows else None

    def comparisons(self) -> list[StoredComparison]:
        """All comparisons, the one that was last started at the end."""
        rows = self._select("SELECT * FROM comparisons ORDER BY rowid", ())
        return [StoredComparison(*row) for row in rows]

    def save_launch(self, launch: Launch) -> None:
        """Keep how a comparison was started. What is not known this time stays as it was."""
        arguments = launch.arguments
        if arguments is not None and any(redact(text) != text for text in arguments):
            arguments = None
        folder = None if arguments is None else launch.working_folder
        listed = None if arguments is None else json.dumps(arguments)
        with self._transaction() as db:
            db.execute(
                "INSERT INTO launches VALUES (?,?,?,?,?) ON CONFLICT (comparison) DO UPDATE SET "
                "time = excluded.time, task_file = coalesce(excluded.task_file, task_file), "
                "working_folder = coalesce(excluded.working_folder, working_folder), "
                "arguments = coalesce(excluded.arguments, arguments)",
                (launch.comparison, launch.time, launch.task_file, folder, listed),
            )

    def launch(self, comparison: str) -> Launch | None:
        """How a comparison was started; None where that was not kept."""
        rows = self._select("SELECT * FROM launches WHERE comparison = ?", (comparison,))
        if not rows:
            return None
        id, time, task_file, folder, listed = rows[0]
        arguments = None if listed is None else read_row(tuple[str, ...], listed, row="a launch")
        return Launch(id, time, task_file, folder, arguments=arguments)

    def add_planned_runs(self, planned_runs: Iterable[PlannedRun]) -> None:
        """Add the runs that belong to a comparison; those that are there already stay."""
        with self._transaction() as db:
            db.executemany(
                "INSERT INTO planned_runs VALUES (?,?,?,?,?,?) ON CONFLICT DO NOTHING",
                [astuple(planned_run) for planned_run in planned_runs],
            )

    def planned_runs(self, comparison: str) -> list[PlannedRun]:
        """The runs of a comparison, in the order in which they were added."""
        query = "SELECT * FROM planned_runs WHERE comparison = ? ORDER BY rowid"
        return [PlannedRun(*row) for row in self._select(query, (comparison,))]

    def end_comparison(self, id: str) -> None:
        """Mark a comparison in which nothing is left to do."""
        with self._transaction() as db:
            db.execute("UPDATE comparisons SET finished = ? WHERE id = ?", (now(), id))

    def save_run(self, run: StoredRun) -> None:
        """Write a run as it stands now, in place of what the ledger held of it."""
        row = [without_secrets(v) if isinstance(v, str) else v for v in astuple(run)]
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO runs VALUES (?,?,?,?,?,?,?,?,?,?,?)", row)

    def run(self, key: str) -> StoredRun | None:
        """The run with that key; None when there is none."""
        rows = self._select("SELECT * FROM runs WHERE key = ?", (key,))
        return StoredRun(*rows[0]) if rows else None

    def keep_advice_outcome(self, comparison: str, outcome: str) -> None:
        """Write what became of the advice of a comparison, in place of what stood there."""
        with self._transaction() as db:
            db.execute(
                "INSERT INTO advice_outcomes VALUES (?,?,?) "
                "ON CONFLICT (comparison) DO UPDATE SET outcome = excluded.outcome",
                (comparison, now(), outcome),
            )

    def advice_outcomes(self) -> list[StoredOutcome]:
        """All outcomes, the oldest first."""
        rows = self._select("SELECT * FROM advice_outcomes ORDER BY created, rowid", ())
        return [StoredOutcome(*row) for row in rows]

    def add_event(
        self, kind: str, message: str, *, comparison: str | None = None, run: str | None = None
    ) -> None:
        """Append an event, with the time."""
        with self._transaction() as db:
            db.execute(
                "INSERT INTO events (time, comparison, run, kind, message) VALUES (?,?,?,?,?)",
                (now(), comparison, run, kind, redact(message)),
            )

    def events(self) -> list[Event]:
        """All events in order."""
        query = "SELECT time, comparison, run, kind, message FROM events ORDER BY id"
        return [Event(*r) for r in self._select(query, ())]
