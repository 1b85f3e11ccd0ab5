"""Make an index of documents, or bring one up to date."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from luthier.errors import UserError
from luthier.retrieval.changes import check_names, left_over, untouched
from luthier.retrieval.embed import Embedder, check_identity, identity, open_embedder
from luthier.retrieval.embed.minilm import MiniLM
from luthier.retrieval.index_store import Edition, IndexWriter, StoredDocument
from luthier.retrieval.ingest.chunks import passages as cut
from luthier.retrieval.ingest.document import UnreadableError
from luthier.retrieval.ingest.sources import Found, find, read
from luthier.retrieval.stores import is_address, open_store
from luthier.retrieval.types import (
    BadFile,
    IndexListener,
    IndexProgress,
    IndexReport,
    IndexSettings,
    Passage,
)

BATCH = 128  # passages embedded together, of whatever documents, and kept together
MADE = 1  # raise when the same documents and settings would give other passages


def build_index(
    sources: Sequence[str | Path],
    into: str | Path,
    *,
    settings: IndexSettings | None = None,
    replace: bool = False,
    listener: IndexListener | None = None,
) -> IndexReport:
    """Index files, folders and globs, into a folder or a store named by its address.

    A file that was not touched since costs a look at its size and times. What the index holds of
    sources that are not named stays, and is counted, unless `replace`. A killed run is gone on with
    by the next; readers see the last complete version. Documents that cannot be read are in
    `IndexReport.bad`. TaskError where there are no documents or two want one name, UserError where
    none can be read or the settings differ from the index's, StorageError where another process is
    at it or the store fails.
    """
    started = time.monotonic()
    settings = settings or IndexSettings()
    apart = None if is_address(into) else Path(into).resolve()
    found = find(sources, urls=settings.urls, leaving_out=apart)
    embedder = open_embedder(settings.embedder)
    dimension = None if embedder is None else lambda: embedder.dimension
    store = open_store(into)
    recipe = json.dumps({k: v for k, v in asdict(settings).items() if k != "urls"})
    with store.writing(settings, dimension) as writer:
        facts = writer.facts()
        if facts.get("settings", recipe) != recipe:
            raise UserError(
                f"The index in {store.where} was made with other settings: {facts['settings']}",
                next_step="Use those, or another --into.",
            )
        run = _Run(writer, store.where, embedder, settings, facts, listener, started)
        held = writer.held()
        if not replace:
            check_names(found, held)
        run.through(found, held)
        if not run.new and not run.same:
            raise UserError(
                "None of the documents could be read: "
                + "; ".join(f"{b.source}: {b.reason}" for b in run.bad[:5])
            )
        gone, kept = left_over(found, held, replace=replace)
        gone += [b.source for b in run.bad if b.source in held]
        run.publish(held, gone, kept, recipe)
        total = writer.passages()
    changed = sum(s in held for s in run.new)
    return IndexReport(
        len(run.new) - changed, changed, len(gone), len(run.same), total, run.embedded,
        tuple(run.bad), time.monotonic() - started, len(kept),
        tuple(sorted({held[k].origin for k in kept})),
    )  # fmt: skip


class _Run:
    """One run of indexing: what it found out, on its way to an edition."""

    def __init__(
        self, writer: IndexWriter, where: str, embedder: Embedder | None, settings: IndexSettings,
        facts: Mapping[str, str], listener: IndexListener | None, started: float,
    ) -> None:  # fmt: skip
        self.writer, self.where, self.settings, self.facts = writer, where, settings, facts
        self.listener, self.started = listener, started
        self.embedder = embedder
        self.bad: list[BadFile] = []
        self.new: dict[str, tuple[StoredDocument, list[Passage]]] = {}
        self.same: dict[str, StoredDocument] = {}
        self.restamped: dict[str, StoredDocument] = {}
        self.embedded = 0
        self._waiting: list[Passage] = []
        self._checked = not facts.get("embedder")

    def through(self, found: Sequence[Found], held: Mapping[str, StoredDocument]) -> None:
        """Read, cut and embed what is new or changed."""
        todo = []
        for one in found:
            known = held.get(one.name)
            if known is not None and untouched(one, known):
                same = known.origin == one.origin
                self._unchanged(
                    one.name, known, known if same else replace(known, origin=one.origin)
                )
            else:
                todo.append(one)
        work, done = sum(one.size_bytes for one in todo), 0
        for i, one in enumerate(todo, len(found) - len(todo) + 1):
            try:
                self._look(one, held.get(one.name))
            except UnreadableError as error:
                self.bad.append(BadFile(one.name, error.problem))
            done += one.size_bytes
            if self.listener is not None:
                spent = time.monotonic() - self.started
                left = spent / done * (work - done) if done else None
                self.listener.progressed(
                    IndexProgress("embedding", i, len(found), done, work, left, one.name)
                )
        if self.embedder is not None and self._waiting:
            self._embed(self.embedder, self._waiting)

    def publish(
        self,
        held: Mapping[str, StoredDocument],
        gone: Sequence[str],
        kept: Sequence[str],
        recipe: str,
    ) -> None:
        """Nothing is written where nothing changed."""
        if not (self.new or gone or self.restamped) and "fingerprint" in self.facts:
            return
        facts = {}
        if self.new or gone or "fingerprint" not in self.facts:
            after = {**{n: held[n] for n in kept}, **self.same}
            digests = {n: h.digest for n, h in after.items()} | {
                n: h.digest for n, (h, _) in self.new.items()
            }
            facts = {
                "settings": recipe,
                "fingerprint": _fingerprint(self.embedder, recipe, digests),
            }
        if not self.facts.get("embedder"):
            facts |= identity(self.embedder)
        if self.listener is not None and self.new:
            n = len(self.new) + len(self.same)
            self.listener.progressed(IndexProgress("publishing", n, n, 0, 0, None))
        self.writer.publish(Edition(gone, self.new, self.restamped, facts))

    def _look(self, one: Found, known: StoredDocument | None) -> None:
        read_at = time.time_ns()
        data = one.read()
        stamp = (*one.stat, 0 if "://" in one.place else read_at)
        now = StoredDocument(hashlib.sha256(data).hexdigest(), one.origin, stamp)
        if known is not None and known.digest == now.digest:
            self._unchanged(one.name, known, now)
            return
        made = list(cut(read(one, data), one.name, self.settings))
        self.new[one.name] = (now, made)
        if self.embedder is not None:
            self._waiting += made
            while len(self._waiting) >= BATCH:
                self._embed(self.embedder, self._waiting[:BATCH])
                del self._waiting[:BATCH]

    def _unchanged(self, name: str, known: StoredDocument, now: StoredDocument) -> None:
        self.same[name] = now
        if now is not known:
            self.restamped[name] = now

    def _embed(self, embedder: Embedder, waiting: Sequence[Passage]) -> None:
        if not self._checked:  # vectors of another model must not stand among those there are
            check_identity(embedder, self.facts, self.where)
            self._checked = True
        missing = self.writer.without_vector([p.id for p in waiting])
        todo = [p for p in waiting if p.id in missing]
        if not todo:
            return
        headed = self.settings.headers
        texts = [f"{p.header}\n{p.text}" if headed and p.header else p.text for p in todo]
        # What is said word for word in many places is embedded once.
        once = list(dict.fromkeys(texts))
        row = {text: i for i, text in enumerate(once)}
        vectors = embedder.embed(once)[[row[text] for text in texts]]
        self.writer.keep_computed([p.id for p in todo], vectors)
        self.embedded += len(todo)


def _fingerprint(embedder: Embedder | None, recipe: str, digests: Mapping[str, str]) -> str:
    by = f"{MADE}:{MiniLM.id if embedder is None else embedder.id}"
    return hashlib.sha256(json.dumps([by, recipe, sorted(digests.items())]).encode()).hexdigest()
