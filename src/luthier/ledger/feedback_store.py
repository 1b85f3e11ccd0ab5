"""Items, opinions, invites and rounds, in the ledger's file.

An opinion is stored in one transaction that is on the disk before `add_opinion` returns: what was
accepted outlives `kill -9`. Of one person, kind and item only one opinion stands.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from luthier.errors import FeedbackError
from luthier.ledger.check_opinion import check_opinion
from luthier.ledger.database import Database
from luthier.ledger.opinions import FeedbackItem, Invite, ItemAnswer, Opinion, TunedModel
from luthier.ledger.provenance import now

_OPINION = (
    "key, item, kind, source, who, simulated, answer, other, grade, value, unsafe, shown, text, "
    "seconds, time"
)


class FeedbackStore(Database):
    """An open store. Threads and processes may share the file."""

    def add_items(self, items: Iterable[FeedbackItem]) -> int:
        """Add items; those that are there already stay. Returns how many are new."""
        new = 0
        with self._transaction() as db:
            for item in items:
                done = db.execute(
                    "INSERT INTO feedback_items VALUES (?,?,?,?,?,?,NULL) ON CONFLICT DO NOTHING",
                    (item.id, now(), json.dumps(item.prompt), item.context, item.held_out,
                     item.batch),
                )  # fmt: skip
                if not done.rowcount:
                    continue
                new += 1
                db.executemany(
                    "INSERT INTO feedback_answers VALUES (?,?,?,?,?,?)",
                    [
                        (a.id, item.id, i, a.text, a.model, a.technique)
                        for i, a in enumerate(item.answers)
                    ],
                )
        return new

    def items(self, *, batch: str | None = None) -> list[FeedbackItem]:
        """All items that were not withdrawn, in the order in which they came."""
        found = self._select(
            "SELECT id, prompt, context, held_out, batch FROM feedback_items "
            "WHERE withdrawn IS NULL AND (?1 IS NULL OR batch = ?1) ORDER BY rowid",
            (batch,),
        )
        answers: dict[str, list[ItemAnswer]] = {}
        query = "SELECT item, id, text, model, technique FROM feedback_answers ORDER BY item, place"
        for item, *answer in self._select(query, ()):
            answers.setdefault(item, []).append(ItemAnswer(*answer))
        return [_item(row, answers.get(row[0], ())) for row in found]

    def item(self, id: str) -> FeedbackItem | None:
        """The item with that id; None where there is none, or it was withdrawn."""
        query = (
            "SELECT id, prompt, context, held_out, batch FROM feedback_items "
            "WHERE id = ? AND withdrawn IS NULL"
        )
        rows = self._select(query, (id,))
        if not rows:
            return None
        query = (
            "SELECT id, text, model, technique FROM feedback_answers WHERE item=? ORDER BY place"
        )
        return _item(rows[0], [ItemAnswer(*row) for row in self._select(query, (id,))])

    def withdraw_item(self, id: str) -> None:
        """Take an item away from annotators; opinions on it stay in the file and count no more."""
        with self._transaction() as db:
            db.execute("UPDATE feedback_items SET withdrawn = ? WHERE id = ?", (now(), id))

    def add_opinion(self, opinion: Opinion) -> Literal["stored", "already"]:
        """Store an opinion; "already" where this person's opinion of that item stands.

        FeedbackError for an item that is gone and for what says nothing about its answers.
        """
        item = self.item(opinion.item)
        if item is None:
            raise FeedbackError(
                f"The item {opinion.item!r} is gone",
                next_step="Ask for the next one; nothing was stored.",
            )
        check_opinion(opinion, item)
        with self._transaction() as db:
            return "stored" if _insert(db, opinion) else "already"

    def change_opinion(self, opinion: Opinion) -> Literal["stored", "already", "changed"]:
        """Store an opinion in place of the one that stands of this person, kind and item, both in
        one transaction; "already" where that one says the same. FeedbackError as `add_opinion`."""
        standing = next(
            (
                o
                for o in self.opinions(who=opinion.who, item=opinion.item)
                if (o.kind, o.source) == (opinion.kind, opinion.source)
            ),
            None,
        )
        if standing is None:
            return self.add_opinion(opinion)
        if (standing.answer, standing.value, standing.text) == (
            opinion.answer, opinion.value, opinion.text,
        ):  # fmt: skip
            return "already"
        item = self.item(opinion.item)
        assert item is not None  # an opinion of it stands
        check_opinion(opinion, item)
        with self._transaction() as db:
            db.execute(
                "UPDATE opinions SET withdrawn = ? WHERE key = ? AND withdrawn IS NULL",
                (now(), standing.key),
            )
            return "changed" if _insert(db, opinion) else "already"

    def add_opinions(self, opinions: Sequence[Opinion]) -> int:
        """Store many in one transaction; returns how many are new. They are checked as one is."""
        items = {item.id: item for item in self.items()}
        new = 0
        with self._transaction() as db:
            for opinion in opinions:
                if opinion.item not in items:
                    raise FeedbackError(
                        f"The item {opinion.item!r} is gone", next_step="Nothing was stored."
                    )
                check_opinion(opinion, items[opinion.item])
                new += _insert(db, opinion)
        return new

    def withdraw_opinion(self, key: str, *, who: str) -> bool:
        """Undo: the opinion with that key counts no more, if it is that person's."""
        with self._transaction() as db:
            done = db.execute(
                "UPDATE opinions SET withdrawn = ? WHERE key = ? AND who = ? AND withdrawn IS NULL",
                (now(), key, who),
            )
        return done.rowcount > 0

    def opinions(self, *, who: str | None = None, item: str | None = None) -> list[Opinion]:
        """All opinions that stand, on items that were not withdrawn, in the order of their
        coming."""
        rows = self._select(
            f"SELECT {_OPINION} FROM opinions WHERE withdrawn IS NULL "
            "AND (?1 IS NULL OR who = ?1) AND (?2 IS NULL OR item = ?2) "
            "AND item IN (SELECT id FROM feedback_items WHERE withdrawn IS NULL) ORDER BY number",
            (who, item),
        )
        return [_opinion(row) for row in rows]

    def seen_by(self, who: str) -> set[str]:
        """The ids of items that this person has judged or skipped."""
        rows = self._select(
            "SELECT DISTINCT item FROM opinions WHERE who = ? AND withdrawn IS NULL", (who,)
        )
        return {row[0] for row in rows}

    def people_by_item(self) -> dict[str, set[str]]:
        """Who has judged each item; skips do not count."""
        rows = self._select(
            "SELECT DISTINCT item, who FROM opinions WHERE withdrawn IS NULL "
            "AND source IN ('person', 'serving') AND kind != 'skip'",
            (),
        )
        found: dict[str, set[str]] = {}
        for item, who in rows:
            found.setdefault(item, set()).add(who)
        return found

    def opinion_counts(self, who: str) -> tuple[int, int]:
        """How many items this person has judged or skipped, and how many items there are."""
        items = self._select("SELECT COUNT(*) FROM feedback_items WHERE withdrawn IS NULL", ())
        return len(self.seen_by(who)), int(items[0][0])

    def add_invite(self, invite: Invite) -> None:
        """Add an invite."""
        with self._transaction() as db:
            db.execute(
                "INSERT INTO feedback_invites VALUES (?,?,?,?,?,NULL)",
                (invite.token, invite.who, invite.kind, now(), invite.expires),
            )

    def invite(self, token: str) -> Invite:
        """The invite of a link. FeedbackError where there is none, or its time is over."""
        rows = self._select(
            "SELECT token, who, kind, expires FROM feedback_invites "
            "WHERE token = ? AND withdrawn IS NULL",
            (token,),
        )
        if not rows:
            raise FeedbackError(
                "There is no such invite", next_step="Ask whoever sent the link for a new one."
            )
        found = Invite(*rows[0])
        if found.expires is not None and found.expires < now():
            raise FeedbackError(
                f"This invite ended on {found.expires[:16].replace('T', ' ')} UTC",
                next_step="Ask whoever sent the link for a new one; what you sent is kept.",
            )
        return found

    def invites(self) -> list[Invite]:
        """All invites, in the order of their making."""
        query = (
            "SELECT token, who, kind, expires FROM feedback_invites WHERE withdrawn IS NULL "
            "ORDER BY rowid"
        )
        return [Invite(*row) for row in self._select(query, ())]

    def add_model(self, model: TunedModel) -> None:
        """Add a model of the loop; what is known of one of the same name is replaced."""
        with self._transaction() as db:
            db.execute(
                "INSERT INTO feedback_models VALUES (?,?,?,?,?,?,?) ON CONFLICT (name) DO UPDATE "
                "SET folder = excluded.folder, method = excluded.method, parent = excluded.parent, "
                "record = excluded.record",
                (model.id, model.name, model.parent, model.folder, model.method,
                 json.dumps(dict(model.record)), now()),
            )  # fmt: skip

    def models(self) -> list[TunedModel]:
        """The models of the loop in the order of their making."""
        query = (
            "SELECT id, name, folder, method, parent, record, created FROM feedback_models "
            "ORDER BY rowid"
        )
        return [
            TunedModel(id, name, folder, method, parent, json.loads(record), created)
            for id, name, folder, method, parent, record, created in self._select(query, ())
        ]


def _insert(db: sqlite3.Connection, opinion: Opinion) -> bool:
    """False where one stands already, by its key or by person, kind and item."""
    done = db.execute(
        f"INSERT INTO opinions ({_OPINION}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) "
        "ON CONFLICT DO NOTHING",
        (opinion.key, opinion.item, opinion.kind, opinion.source, opinion.who, opinion.simulated,
         opinion.answer, opinion.other, opinion.grade, opinion.value, json.dumps(opinion.unsafe),
         json.dumps(opinion.shown), opinion.text, opinion.seconds, opinion.time or now()),
    )  # fmt: skip
    return done.rowcount > 0


def _item(row: Sequence[Any], answers: Sequence[ItemAnswer]) -> FeedbackItem:
    id, prompt, context, held_out, batch = row
    turns = tuple((str(role), str(text)) for role, text in json.loads(prompt))
    return FeedbackItem(id, turns, tuple(answers), context, bool(held_out), batch)


def _opinion(row: Sequence[Any]) -> Opinion:
    found: Mapping[str, Any] = dict(zip(_OPINION.split(", "), row, strict=True))
    return Opinion(
        **{
            **found,
            "simulated": bool(found["simulated"]),
            "unsafe": tuple(json.loads(found["unsafe"])),
            "shown": tuple(json.loads(found["shown"])),
        }
    )
