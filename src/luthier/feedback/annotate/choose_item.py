"""What to ask next: where judges and models disagree, where answers differ most.

Never the same item twice to one person, never more than k people to an item. What one person has
been handed counts for ten minutes, so that two who ask at once get different items.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence

from luthier.ledger.feedback_store import FeedbackStore
from luthier.ledger.opinions import FeedbackItem, OpinionKind
from luthier.scoring.judges.consensus import signed

HELD_SECONDS = 600.0
REFRESHED_SECONDS = 30.0


class ItemChooser:
    """Hands out items of one store. Threads may share it."""

    def __init__(
        self, store: FeedbackStore, *, people_per_item: int = 2,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.store, self.people_per_item, self._clock = store, people_per_item, clock
        self._lock = threading.Lock()
        self._held: dict[str, dict[str, float]] = defaultdict(dict)  # item -> who -> until
        self._ranked: list[FeedbackItem] = []
        self._people: dict[str, set[str]] = {}
        self._ranked_at = float("-inf")

    def next_item(self, who: str, kind: OpinionKind) -> FeedbackItem | None:
        """The next item for this person; None where nothing is left for them."""
        with self._lock:
            now = self._clock()
            self._refresh(now)
            seen = self.store.seen_by(who)
            free = [item for item in self._ranked if self._is_free(item, kind, seen)]
            for item in sorted(free, key=lambda i: self._held_by(i.id, who, now)):
                taken = len(self._people.get(item.id, ())) + self._held_by(item.id, who, now)
                if taken < self.people_per_item:
                    self._held[item.id][who] = now + HELD_SECONDS
                    return item
        return None

    def answered(self, item: str, who: str, *, counts: bool) -> None:
        """The person has answered; `counts`: an opinion of theirs is new."""
        with self._lock:
            self._held[item].pop(who, None)
            if counts:  # a set: the store may have told of it already
                self._people.setdefault(item, set()).add(who)

    def taken_back(self, item: str, who: str) -> None:
        """The person has undone their opinion, and has the item before them again."""
        with self._lock:
            self._people.get(item, set()).discard(who)
            self._held[item][who] = self._clock() + HELD_SECONDS

    def progress(self, who: str, kind: OpinionKind) -> dict[str, int]:
        """How many items this person has done, and how many they may still do, at most."""
        with self._lock:
            self._refresh(self._clock())
            seen = self.store.seen_by(who)
            left = sum(self._is_free(item, kind, seen) for item in self._ranked)
            return {"done": len(seen), "left": left}

    def _refresh(self, now: float) -> None:
        """Look at the whole store now and then: others may write to it."""
        if now - self._ranked_at > REFRESHED_SECONDS:
            self._ranked, self._ranked_at = ranked_items(self.store), now
            self._people = self.store.people_by_item()

    def _is_free(self, item: FeedbackItem, kind: OpinionKind, seen: set[str]) -> bool:
        needed = 2 if kind == "preference" else 1
        too_many = len(self._people.get(item.id, ())) >= self.people_per_item
        return not too_many and item.id not in seen and len(item.answers) >= needed

    def _held_by(self, item: str, who: str, now: float) -> int:
        """By how many others the item is held."""
        held = self._held.get(item, {})
        return sum(until > now and other != who for other, until in held.items())


def ranked_items(store: FeedbackStore) -> list[FeedbackItem]:
    """All items, those first of which an opinion tells most."""
    items = store.items()
    by_id = {item.id: item for item in items}
    votes: dict[str, list[int]] = defaultdict(list)
    for opinion in store.opinions():
        if opinion.kind == "preference" and opinion.source in ("judge", "script"):
            votes[opinion.item].append(signed(opinion, by_id[opinion.item]))
    return sorted(
        items,
        key=lambda item: (
            -disagreement(votes[item.id]),
            -difference([a.text for a in item.answers]),
            hashlib.sha256(item.id.encode()).digest(),
        ),
    )


def disagreement(votes: Sequence[int]) -> float:
    """From 0 (one mind, or nobody) to 1 (as many for one answer as for the other)."""
    sides = [(v > 0) - (v < 0) for v in votes]
    return 1 - abs(sum(sides)) / len(sides) if len(sides) > 1 else 0.0


def difference(texts: Sequence[str]) -> float:
    """One less the share of words that two answers have in common; 0 for a single answer."""
    if len(texts) < 2:
        return 0.0
    first, second = (set(text.lower().split()) for text in texts[:2])
    return 1 - len(first & second) / max(1, len(first | second))
