"""Make an index of documents, or bring one up to date."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from luthier.errors import UserError
from luthier.ledger.lock import alone_in
from luthier.retrieval import catalogue
from luthier.retrieval.embed.minilm import MiniLM
from luthier.retrieval.ingest.chunks import passages as cut
from luthier.retrieval.ingest.document import UnreadableError
from luthier.retrieval.ingest.sources import find, read
from luthier.retrieval.records import (
    LEXICAL_ONLY,
    BadFile,
    IndexListener,
    IndexProgress,
    IndexReport,
    IndexSettings,
    Passage,
)

BATCH = 64


def build_index(
    sources: Sequence[str | Path],
    into: str | Path,
    *,
    settings: IndexSettings | None = None,
    listener: IndexListener | None = None,
) -> IndexReport:
    """Index files, folders and globs; what the index held of other documents goes.

    What is unchanged costs its hash. A killed run is gone on with by the next; readers see the last
    complete version. Documents that cannot be read are in `IndexReport.bad`. TaskError where there
    are no documents, UserError where none can be read or the settings differ from the index's,
    StorageError where another process is at it.
    """
    started = time.monotonic()
    settings, into = settings or IndexSettings(), Path(into)
    found = find(sources, urls=settings.urls, leaving_out=into.resolve())
    recipe = json.dumps({k: v for k, v in asdict(settings).items() if k != "urls"})
    bad: list[BadFile] = []
    new: dict[str, tuple[str, list[Passage]]] = {}
    same: set[str] = set()
    embedded = 0
    with alone_in(into), catalogue.opened(into, stemmer=settings.stemmer) as db:
        before = catalogue.facts(db).get("settings", recipe)
        if before != recipe:
            raise UserError(
                f"The index in {into} was made with other settings: {before}",
                next_step="Use those, or another --into folder.",
            )
        held = catalogue.files(db)
        work, done = sum(f.size_bytes for f in found), 0
        for i, one in enumerate(found):
            try:
                data = one.read()
                digest = hashlib.sha256(data).hexdigest()
                if held.get(one.name) == digest:
                    same.add(one.name)
                else:
                    made = list(cut(read(one, data), one.name, settings))
                    embedded += _embed(db, made, settings)
                    new[one.name] = (digest, made)
            except UnreadableError as error:
                bad.append(BadFile(one.name, error.problem))
            done += one.size_bytes
            if listener is not None:
                spent = time.monotonic() - started
                left = spent / done * (work - done) if done else None
                listener.progressed(
                    IndexProgress("embedding", i + 1, len(found), done, work, left, one.name)
                )
        if not new and not same:
            raise UserError(
                "None of the documents could be read: "
                + "; ".join(f"{b.source}: {b.reason}" for b in bad[:5])
            )
        gone = [s for s in held if s not in new and s not in same]
        digests = {**{s: held[s] for s in same}, **{s: d for s, (d, _) in new.items()}}
        fingerprint = hashlib.sha256(
            json.dumps([VERSIONED, recipe, sorted(digests.items())]).encode()
        ).hexdigest()
        written = {"settings": recipe, "fingerprint": fingerprint}
        catalogue.publish(db, gone=gone, new=new, written=written)
        total = db.execute("SELECT count(*) FROM passages").fetchone()[0]
        # One plain file is left, which can be copied, hashed and read where nothing may be written.
        # Readers at work keep it from happening; then it is a file and its log.
        with suppress(sqlite3.OperationalError):
            db.execute("PRAGMA journal_mode=DELETE")
    changed = sum(s in held for s in new)
    return IndexReport(
        len(new) - changed, changed, len(gone), len(same), total, embedded, tuple(bad),
        time.monotonic() - started,
    )  # fmt: skip


VERSIONED = f"{catalogue.VERSION}:{MiniLM.id}"


def _embed(db: sqlite3.Connection, made: Sequence[Passage], settings: IndexSettings) -> int:
    if settings.embedder == LEXICAL_ONLY:
        return 0
    if settings.embedder != "minilm":
        raise UserError(f"No embedder {settings.embedder!r}", choices=("minilm", LEXICAL_ONLY))
    missing = catalogue.without_vector(db, [p.id for p in made])
    todo = [p for p in made if p.id in missing]
    for at in range(0, len(todo), BATCH):
        part = todo[at : at + BATCH]
        texts = [f"{p.header}\n{p.text}" if settings.headers and p.header else p.text for p in part]
        catalogue.keep_computed(db, [p.id for p in part], MiniLM().embed(texts))
    return len(todo)
