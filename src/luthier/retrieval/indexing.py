"""Build an index of documents, or bring one up to date."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path

from luthier.errors import UserError
from luthier.redaction import plain_address
from luthier.retrieval.changes import check_names, removed_and_kept
from luthier.retrieval.embed import open_embedder
from luthier.retrieval.index_run import IndexRun
from luthier.retrieval.index_store import stored_documents
from luthier.retrieval.ingest.sources import find_documents
from luthier.retrieval.stores import is_address, open_store
from luthier.retrieval.types import IndexListener, IndexReport, IndexSettings
from luthier.safety.hosts import name_host


def build_index(
    sources: Sequence[str | Path],
    into: str | Path,
    *,
    settings: IndexSettings | None = None,
    replace: bool = False,
    listener: IndexListener | None = None,
    leaving_out: Collection[str | Path] = (),
) -> IndexReport:
    """Index files, folders and globs, into a folder or a store named by its address.

    Of a file that has not been touched since only size and times are read. What the index holds of
    sources that are not named stays, and is counted, unless `replace`. After a kill the next run
    continues; readers see the last complete version. Documents that cannot be read are in
    `IndexReport.bad`. `leaving_out` holds files and folders that are not indexed.

    TaskError where there are no documents or two have the same name, UserError where none can be
    read or the settings differ from those of the index, StorageError where another process is
    writing to it or the store fails.
    """
    started = time.monotonic()
    settings = settings or IndexSettings()
    unwanted = [Path(path).resolve() for path in leaving_out]
    if not is_address(into):
        unwanted.append(Path(into).resolve())
    files = find_documents(sources, urls=settings.urls, leaving_out=unwanted)
    name_host(settings.embedder)
    embedder = open_embedder(settings.embedder)
    dimension = None if embedder is None else lambda: embedder.dimension
    store = open_store(into)
    plain = {k: v for k, v in asdict(settings).items() if k != "urls"}
    recipe = json.dumps(plain | {"embedder": plain_address(settings.embedder)})
    with store.writer(settings, dimension) as writer:
        facts = writer.facts()
        if facts.get("settings", recipe) != recipe:
            raise UserError(
                f"The index in {store.address} was made with other settings: {facts['settings']}",
                next_step="Use those, or another --into.",
            )
        run = IndexRun(writer, store.address, embedder, settings, facts, listener, started)
        stored = stored_documents(writer, store.address)
        if not replace:
            check_names(files, stored)
        run.process(files, stored)
        if not run.added and not run.unchanged:
            raise UserError(
                "None of the documents could be read: "
                + "; ".join(f"{b.source}: {b.reason}" for b in run.bad[:5])
            )
        removed, kept = removed_and_kept(files, stored, replace=replace)
        removed += [b.source for b in run.bad if b.source in stored]
        kept_documents = {name: stored[name] for name in kept}
        run.publish(removed, kept_documents, recipe)
        total = writer.passages()
    changed = sum(name in stored for name in run.added)
    return IndexReport(
        added=len(run.added) - changed,
        changed=changed,
        removed=len(removed),
        unchanged=len(run.unchanged),
        passages=total,
        embedded=run.embedded,
        bad=tuple(run.bad),
        seconds=time.monotonic() - started,
        kept=len(kept),
        kept_of=tuple(sorted({document.origin for document in kept_documents.values()})),
    )
