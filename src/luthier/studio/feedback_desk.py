"""The feedback of each run: its store, kept open, and the annotation page over it."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from fastapi import HTTPException

from luthier.feedback.annotate.choose_item import ItemChooser
from luthier.feedback.annotate.page_app import AnnotationPages
from luthier.ledger.feedback_store import FeedbackStore
from luthier.ledger.opinions import FeedbackItem, Invite, Opinion
from luthier.ledger.run_ledger import LEDGER_FILE

SHOWN = 30  # of the latest opinions


@dataclass(frozen=True, slots=True)
class ShownOpinion:
    """An opinion with the item that it is about."""

    opinion: Opinion
    item: FeedbackItem

    @property
    def said(self) -> str:
        """What it says, in words."""
        opinion = self.opinion
        if opinion.kind == "thumb":
            return "good" if opinion.value else "bad"
        if opinion.kind == "rating":
            return f"{opinion.value:g} of 5"
        if opinion.kind == "preference":
            return f"{opinion.grade} better" if opinion.grade != "unsure" else "unsure"
        return ""

    @property
    def answer(self) -> str:
        """The answer that it is about; "" where it is about none."""
        found = None if self.opinion.answer is None else self.item.answer(self.opinion.answer)
        return "" if found is None else found.text


@dataclass(frozen=True, slots=True)
class FeedbackSummary:
    """What a run's feedback holds. `pairs` counts items with two answers or more."""

    items: int
    pairs: int
    kinds: dict[str, int]
    people: int
    invites: tuple[Invite, ...]
    latest: tuple[ShownOpinion, ...]


@dataclass(frozen=True, slots=True)
class OpenDesk:
    """An open store and who chooses what is asked next; `file` tells the file apart from another
    one that takes its place."""

    store: FeedbackStore
    chooser: ItemChooser
    file: tuple[int, int]


class FeedbackDesk:
    """Opens the feedback of run folders. Threads may share it."""

    def __init__(self) -> None:
        self._open: dict[Path, OpenDesk] = {}
        self._lock = threading.Lock()

    def store(self, folder: Path) -> FeedbackStore:
        """The store of a run folder. HTTPException 404 where its ledger is gone."""
        return self._desk(folder).store

    def pages(self, folder: Path, *, style: str, frame: str) -> AnnotationPages:
        """The annotation page over a run folder, in the frame of the studio."""
        desk = self._desk(folder)
        return AnnotationPages(desk.store, desk.chooser, style, frame=frame)

    def close(self) -> None:
        """Close every store."""
        with self._lock:
            for desk in self._open.values():
                desk.store.close()
            self._open.clear()

    def _desk(self, folder: Path) -> OpenDesk:
        path = folder / LEDGER_FILE
        with self._lock:
            try:
                facts = path.stat()
            except OSError as error:
                raise HTTPException(404, f"there is no run {folder.name!r} any more") from error
            desk = self._open.get(folder)
            if desk is not None and desk.file != (facts.st_dev, facts.st_ino):
                desk.store.close()  # an opinion must not go into a file that was deleted
                desk = None
            if desk is None:
                store = FeedbackStore(path)
                desk = OpenDesk(store, ItemChooser(store), (facts.st_dev, facts.st_ino))
                self._open[folder] = desk
            return desk


def summary(store: FeedbackStore) -> FeedbackSummary:
    """What the page of a run's feedback shows."""
    items = {item.id: item for item in store.items()}
    opinions = store.opinions()
    return FeedbackSummary(
        items=len(items),
        pairs=sum(len(item.answers) > 1 for item in items.values()),
        kinds=dict(Counter(opinion.kind for opinion in opinions)),
        people=len({o.who for o in opinions if o.source in ("person", "serving")}),
        invites=tuple(store.invites()),
        latest=tuple(ShownOpinion(o, items[o.item]) for o in reversed(opinions[-SHOWN:])),
    )
