"""One run of indexing: reads, cuts and embeds what is new or changed, and publishes it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from luthier.errors import UserError
from luthier.retrieval.changes import is_unchanged
from luthier.retrieval.embed import Embedder, check_same_embedder, embedder_facts
from luthier.retrieval.embed.minilm import MiniLM
from luthier.retrieval.index_store import IndexUpdate, IndexWriter, StoredDocument
from luthier.retrieval.ingest.chunks import cut_passages
from luthier.retrieval.ingest.document import UnreadableError
from luthier.retrieval.ingest.sources import SourceFile, read_document
from luthier.retrieval.types import BadFile, IndexListener, IndexProgress, IndexSettings, Passage

BATCH = 128  # passages embedded together, of any documents, and kept together
CUTTING_VERSION = 2  # raise it when the same documents and settings would give other passages


class IndexRun:
    """What one run of indexing found out, until it is published.

    `added`, `unchanged`, `restamped` and `bad` sort the documents that it processed; `embedded`
    counts the passages that it embedded.
    """

    def __init__(
        self, writer: IndexWriter, address: str, embedder: Embedder | None, settings: IndexSettings,
        facts: Mapping[str, str], listener: IndexListener | None, started: float,
    ) -> None:  # fmt: skip
        self.writer, self.address, self.settings, self.facts = writer, address, settings, facts
        self.listener, self.started = listener, started
        self.embedder = embedder
        self.bad: list[BadFile] = []
        self.added: dict[str, tuple[StoredDocument, list[Passage]]] = {}
        self.unchanged: dict[str, StoredDocument] = {}
        self.restamped: dict[str, StoredDocument] = {}
        self.embedded = 0
        self._waiting: list[Passage] = []
        self._checked = not facts.get("embedder")

    def process(self, files: Sequence[SourceFile], stored: Mapping[str, StoredDocument]) -> None:
        """Read, cut and embed the files that are new or changed."""
        to_read = []
        for file in files:
            known = stored.get(file.name)
            if known is not None and is_unchanged(file, known):
                same = known.origin == file.origin
                self._record_unchanged(
                    file.name, known, known if same else replace(known, origin=file.origin)
                )
            else:
                to_read.append(file)
        total_bytes, done_bytes = sum(file.size_bytes for file in to_read), 0
        for number, file in enumerate(to_read, len(files) - len(to_read) + 1):
            try:
                self._read(file, stored.get(file.name))
            except UnreadableError as error:
                self.bad.append(BadFile(file.name, error.problem))
            done_bytes += file.size_bytes
            if self.listener is not None:
                spent = time.monotonic() - self.started
                left = spent / done_bytes * (total_bytes - done_bytes) if done_bytes else None
                self.listener.progressed(
                    IndexProgress(
                        "embedding", number, len(files), done_bytes, total_bytes, left, file.name
                    )
                )
        if self.embedder is not None and self._waiting:
            self._embed(self.embedder, self._waiting)

    def publish(
        self, removed: Sequence[str], kept: Mapping[str, StoredDocument], recipe: str
    ) -> None:
        """Publish the run. Nothing is written where nothing has changed.

        `kept` are documents of sources that were not named; `recipe` are the settings as JSON.
        """
        if not (self.added or removed or self.restamped) and "fingerprint" in self.facts:
            return
        facts = {}
        if self.added or removed or "fingerprint" not in self.facts:
            digests = {name: d.digest for name, d in {**kept, **self.unchanged}.items()} | {
                name: d.digest for name, (d, _) in self.added.items()
            }
            facts = {
                "settings": recipe,
                "fingerprint": _fingerprint(self.embedder, recipe, digests),
            }
        if not self.facts.get("embedder"):
            facts |= embedder_facts(self.embedder)
        if self.listener is not None and self.added:
            count = len(self.added) + len(self.unchanged)
            self.listener.progressed(IndexProgress("publishing", count, count, 0, 0, None))
        self.writer.publish(IndexUpdate(removed, self.added, self.restamped, facts))

    def _read(self, file: SourceFile, known: StoredDocument | None) -> None:
        read_at = time.time_ns()
        data = file.read()
        stamp = (*file.stat, 0 if "://" in file.place else read_at)
        document = StoredDocument(hashlib.sha256(data).hexdigest(), file.origin, stamp)
        if known is not None and known.digest == document.digest:
            self._record_unchanged(file.name, known, document)
            return
        read = read_document(file, data)
        try:
            passages = list(cut_passages(read, file.name, self.settings))
        except UserError:
            raise
        except Exception as error:
            raise UnreadableError(f"it cannot be cut into passages: {error}") from error
        self.added[file.name] = (document, passages)
        if self.embedder is not None:
            self._waiting += passages
            while len(self._waiting) >= BATCH:
                self._embed(self.embedder, self._waiting[:BATCH])
                del self._waiting[:BATCH]

    def _record_unchanged(self, name: str, known: StoredDocument, document: StoredDocument) -> None:
        self.unchanged[name] = document
        if document is not known:
            self.restamped[name] = document

    def _embed(self, embedder: Embedder, waiting: Sequence[Passage]) -> None:
        if not self._checked:  # an index must not mix the vectors of two models
            check_same_embedder(embedder, self.facts, self.address)
            self._checked = True
        missing = self.writer.without_vector([p.id for p in waiting])
        passages = [p for p in waiting if p.id in missing]
        if not passages:
            return
        headers = self.settings.headers
        texts = [f"{p.header}\n{p.text}" if headers and p.header else p.text for p in passages]
        # A text that occurs in many places is embedded once.
        distinct = list(dict.fromkeys(texts))
        row = {text: i for i, text in enumerate(distinct)}
        vectors = embedder.embed(distinct)[[row[text] for text in texts]]
        self.writer.keep_computed([p.id for p in passages], vectors)
        self.embedded += len(passages)


def _fingerprint(embedder: Embedder | None, recipe: str, digests: Mapping[str, str]) -> str:
    made_by = f"{CUTTING_VERSION}:{MiniLM.id if embedder is None else embedder.id}"
    known = json.dumps([made_by, recipe, sorted(digests.items())])
    return hashlib.sha256(known.encode()).hexdigest()
