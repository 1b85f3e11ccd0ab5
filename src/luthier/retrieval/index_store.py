"""What keeps an index: a file on this disk, or a server. One protocol for all.

A store shows its readers the last complete version of an index, whatever a run of indexing is doing
and wherever one was killed, and lets one run write at a time. The names of documents and the ids of
passages are the keys; vectors have length 1, so that the inner product is the cosine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from luthier.errors import StorageError
from luthier.retrieval.types import IndexSettings, Passage
from luthier.safety.saved_parts import check_types

Vectors = NDArray[np.float32]
Ranking = list[tuple[str, float]]  # ids of passages and scores, best first
MetadataFilter = tuple[tuple[str, str], ...]  # (name, value): metadata that a passage must have
Dimension = Callable[[], int] | None  # called when a store creates a column for vectors
GRAPH_FROM = 20_000  # passages from which approximate search pays (decision 9)


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document of an index. `origin` is the source that led to it, "" where that is not known.

    `stamp` identifies a file that has not been touched since: its size, the times of its content
    and of its record (ns), and when it was read (ns); all 0 where there is no file.
    """

    digest: str
    origin: str = ""
    stamp: tuple[int, int, int, int] = (0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class IndexUpdate:
    """What a run of indexing changes; it is published as a whole.

    **Arguments**

    - `removed`: documents whose passages are deleted.
    - `added`: documents that are new or have changed, with their passages, which replace those of
      an earlier version.
    - `restamped`: documents with the same content and another stamp or origin.
    - `facts`: facts about the index that are written beside the others.
    """

    removed: Sequence[str] = ()
    added: Mapping[str, tuple[StoredDocument, Sequence[Passage]]] = field(default_factory=dict)
    restamped: Mapping[str, StoredDocument] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def replaced(self) -> list[str]:
        """The documents whose earlier passages are deleted."""
        return list(dict.fromkeys([*self.removed, *self.added]))

    @property
    def records(self) -> dict[str, StoredDocument]:
        """The records of documents to write, by name."""
        return {name: document for name, (document, _) in self.added.items()} | dict(self.restamped)

    @property
    def passages(self) -> list[Passage]:
        """The passages of the added documents."""
        return [p for _, passages in self.added.values() for p in passages]


class IndexReader(Protocol):
    """One complete version of an index."""

    def facts(self) -> dict[str, str]:
        """The facts about the index; empty before its first complete version."""

    def counts(self) -> tuple[int, int]:
        """The numbers of passages and of documents."""

    def nearest(self, vectors: Vectors, k: int, where: MetadataFilter = ()) -> list[Ranking]:
        """The k passages of the largest inner product with each of the vectors (Q, H)."""

    def matching(self, queries: Sequence[str], k: int, where: MetadataFilter = ()) -> list[Ranking]:
        """The k best passages that share words with each query, by BM25."""

    def passages(self, ids: Sequence[str]) -> list[Passage]:
        """The passages of these ids, in that order. KeyError for an id that is not in the index."""

    def vectors(self, ids: Sequence[str]) -> dict[str, Vectors]:
        """The vectors of those of the passages that have one."""


class IndexWriter(Protocol):
    """The one run that may change an index."""

    def facts(self) -> dict[str, str]:
        """The facts about the index, as a reader sees them."""

    def documents(self) -> dict[str, StoredDocument]:
        """The documents of the index by name."""

    def without_vector(self, ids: Sequence[str]) -> set[str]:
        """Those of the ids whose vector has neither been published nor computed."""

    def keep_computed(self, ids: Sequence[str], vectors: Vectors) -> None:
        """Keep vectors of passages that are not published yet, so that no kill loses them."""

    def publish(self, update: IndexUpdate) -> None:
        """Make the update visible to readers, as a whole or not at all."""

    def passages(self) -> int:
        """The number of published passages."""


class IndexStore(Protocol):
    """The place of one index. StorageError where it fails, UserError where there is no index."""

    name: str
    address: str

    def reader(self) -> AbstractContextManager[IndexReader]:
        """The last complete version, until the end of the `with` block."""

    def writer(
        self, settings: IndexSettings, dimension: Dimension
    ) -> AbstractContextManager[IndexWriter]:
        """The only writer, until the end of the `with` block. The index is created if needed.

        StorageError where another run is writing. `dimension` returns the length of the vectors to
        come; it is None where there will be none.
        """

    def bytes(self) -> int | None:
        """The bytes of the index on this disk, None where a server keeps it."""


def place_of(p: Passage) -> list[object]:
    """The position, headings and metadata of a passage, for JSON; `as_passage` reads it."""
    return [p.start, p.end, p.page, list(p.headings), dict(p.metadata)]


def stored_documents(writer: IndexWriter, address: str) -> Mapping[str, StoredDocument]:
    """The documents that an index holds; StorageError where it is damaged."""
    with damaged_index(address):
        stored = writer.documents()
        for name, document in stored.items():
            check_types(name, str, "the name of a document")
            check_types(document, StoredDocument, f"the document {name}")
    return stored


@contextmanager
def damaged_index(address: str) -> Iterator[None]:
    """StorageError, with the index, where what it holds is not what an index holds."""
    try:
        yield
    except (KeyError, ValueError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise StorageError(
            f"The index in {address} is damaged ({type(error).__name__}: {error})",
            next_step="Make it again from its documents: luthier index DOCUMENTS --into a new "
            "folder.",
        ) from error


def as_passage(id: str, source: str, text: str, place: Sequence[object]) -> Passage:
    """A passage from what a store keeps of it."""
    if not isinstance(text, str):
        raise TypeError(f"the text of a passage is of type {type(text).__name__}")
    start, end, page, headings, metadata = place
    return Passage(id, text, source, start, end, page, tuple(headings), metadata)  # type: ignore[arg-type]


def metadata_labels(p: Passage) -> list[str]:
    """The metadata of a passage and its source as "name=value", for stores that filter by lists."""
    return [f"{k}={v}" for k, v in {**p.metadata, "source": p.source}.items()]
