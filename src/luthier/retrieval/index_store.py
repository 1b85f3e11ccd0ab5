"""What keeps an index: a file on this disk, or a server. One protocol for all.

A store shows readers the last complete version of an index, whatever a run of indexing is doing
or where it was killed, and lets one run write at a time. Names of documents and ids of passages
are the keys; vectors are of length 1, so that the inner product is the cosine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from luthier.retrieval.types import IndexSettings, Passage

Vectors = NDArray[np.float32]
Ranking = list[tuple[str, float]]  # ids of passages and scores, best first
Where = tuple[tuple[str, str], ...]  # what the metadata of a passage must hold
Dimension = Callable[[], int] | None  # asked when a store makes room for vectors
GRAPH_FROM = 20_000  # passages from which approximate search pays (decision 9)


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document of an index. `origin` is the source it was found by, "" where that is not known.

    `stamp` tells a file that was not touched since: size, times of its content and of its record
    (ns), and when it was read (ns); all 0 where there is no such thing.
    """

    digest: str
    origin: str = ""
    stamp: tuple[int, int, int, int] = (0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Edition:
    """What a run of indexing changes, published as one.

    The passages of `gone` documents go, those of `new` ones take the place of what was there;
    `restamped` ones say what they said. `facts` are written beside the others.
    """

    gone: Sequence[str] = ()
    new: Mapping[str, tuple[StoredDocument, Sequence[Passage]]] = field(default_factory=dict)
    restamped: Mapping[str, StoredDocument] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)


class IndexReader(Protocol):
    """One complete version of an index."""

    def facts(self) -> dict[str, str]:
        """What is written down about it; empty before its first complete version."""

    def counts(self) -> tuple[int, int]:
        """Passages and documents."""

    def nearest(self, vectors: Vectors, k: int, where: Where = ()) -> list[Ranking]:
        """The k passages of the largest inner product with each of the vectors (Q, H)."""

    def matching(self, queries: Sequence[str], k: int, where: Where = ()) -> list[Ranking]:
        """The k best passages that share words with each query, by BM25."""

    def passages(self, ids: Sequence[str]) -> list[Passage]:
        """In the order asked. KeyError for an id that is not here."""

    def vectors(self, ids: Sequence[str]) -> dict[str, Vectors]:
        """Those of the passages that have one."""


class IndexWriter(Protocol):
    """The one run that may change an index."""

    def facts(self) -> dict[str, str]:
        """As the reader's."""

    def held(self) -> dict[str, StoredDocument]:
        """The documents by name."""

    def without_vector(self, ids: Sequence[str]) -> set[str]:
        """Those of the ids whose vector has neither been published nor computed."""

    def keep_computed(self, ids: Sequence[str], vectors: Vectors) -> None:
        """Keep vectors of passages that are not published yet: a killed run does not lose them."""

    def publish(self, edition: Edition) -> None:
        """Make it the version that readers see, as a whole or not at all."""

    def passages(self) -> int:
        """How many are published."""


class IndexStore(Protocol):
    """Where an index is. StorageError for what fails on the way, UserError where there is none."""

    name: str
    where: str

    def reading(self) -> AbstractContextManager[IndexReader]:
        """The last complete version, until the end of the `with` block."""

    def writing(
        self, settings: IndexSettings, dimension: Dimension
    ) -> AbstractContextManager[IndexWriter]:
        """Alone at it, the index made where there is none. StorageError where another run is.

        `dimension` tells that of the vectors to come, None where there will be none.
        """

    def bytes(self) -> int | None:
        """What it takes on this disk, None where a server holds it."""


def place_of(p: Passage) -> list[object]:
    """Where a passage stands, for JSON; `as_passage` reads it."""
    return [p.start, p.end, p.page, list(p.headings), dict(p.metadata)]


def as_passage(id: str, source: str, text: str, place: Sequence[object]) -> Passage:
    """A passage from what a store keeps of it."""
    start, end, page, headings, metadata = place
    return Passage(id, text, source, start, end, page, tuple(headings), metadata)  # type: ignore[arg-type]


def labels_of(p: Passage) -> list[str]:
    """The metadata of a passage and its source, as "name=value", for stores that match lists."""
    return [f"{k}={v}" for k, v in {**p.metadata, "source": p.source}.items()]
