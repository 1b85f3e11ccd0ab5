"""Qdrant, a server or (for trying out) a folder. It knows no transactions, so points have versions.

Every passage and document says from which version on it is `born` and from which on it has `died`;
one point of facts says which version is live, and writing it is what publishes. Readers filter by
the version they found live. What died stays until the next run, for readers that are still at it.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from luthier.errors import StorageError, UserError
from luthier.retrieval.index_store import (
    GRAPH_FROM,
    Dimension,
    Edition,
    Ranking,
    StoredDocument,
    Vectors,
    Where,
    as_passage,
    labels_of,
    place_of,
)
from luthier.retrieval.stores.lease import Lease
from luthier.retrieval.stores.words import document_terms, query_terms
from luthier.retrieval.types import IndexSettings, Passage

VERSION = 1
NEVER = 2**40  # the version in which what lives dies
STAGED = 2**39  # born in no version yet: its vector was computed
BATCH = 256
FACTS = str(uuid.UUID(int=1))


class QdrantStore:
    """`qdrant+http://HOST:6333#INDEX` or `qdrant://FOLDER#INDEX`; "luthier" is the usual INDEX."""

    name = "qdrant"

    def __init__(self, address: str) -> None:
        """UserError for an index name that is none."""
        self.where = address
        url, _, name = address.partition("#")
        self.index = name or "luthier"
        if not re.fullmatch(r"[\w-]{1,100}", self.index):
            raise UserError(f"{self.index!r} is no name for an index in Qdrant")
        self.url = url.removeprefix("qdrant+") if url.startswith("qdrant+") else None
        self.folder = url.removeprefix("qdrant://")

    @contextmanager
    def reading(self) -> Iterator[QdrantReader]:
        """What is live now."""
        with self._connected() as client:
            found = self._facts(client)
            if found is None:
                raise UserError(
                    f"No index in {self.where}",
                    next_step=f"Make one: luthier index docs/ --into '{self.where}'",
                )
            yield QdrantReader(client, self.index, found)

    @contextmanager
    def writing(self, settings: IndexSettings, dimension: Dimension) -> Iterator[QdrantWriter]:
        """The lock is a lease: of a run that died elsewhere it is over after two minutes."""
        with self._connected() as client:
            found = self._facts(client)
            if found is None:
                _make(client, self.index, None if dimension is None else dimension())
                found = {"live": 0, "version": VERSION, "facts": {}}
                _put(client, f"{self.index}-documents", [(FACTS, found, {})])
            lease = Lease(client, f"{self.index}-documents", self.where)
            lease.take()
            try:
                _tidy(client, self.index, int(found["live"]))
                yield QdrantWriter(client, self.index, found, settings, lease)
            finally:
                lease.give()

    def bytes(self) -> int | None:
        """The server's disk is its own."""
        return None

    def _facts(self, client: Any) -> dict[str, Any] | None:
        if not client.collection_exists(f"{self.index}-documents"):
            return None
        points = client.retrieve(f"{self.index}-documents", [FACTS])
        if not points:
            return None
        found: dict[str, Any] = points[0].payload
        if found["version"] > VERSION:
            raise StorageError(
                f"The index in {self.where} is of version {found['version']}, newer than this "
                f"luthier reads ({VERSION})",
                next_step="Update luthier, or make the index anew under another name.",
            )
        return found

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        try:
            from qdrant_client import QdrantClient
            from qdrant_client.http.exceptions import ApiException
        except ImportError as error:
            raise UserError(
                "Qdrant needs qdrant-client, which is not installed",
                next_step="pip install 'luthier[qdrant]'",
            ) from error
        try:
            if self.url is None:
                client = QdrantClient(path=self.folder)
            else:
                key = os.environ.get("QDRANT_API_KEY")
                client = QdrantClient(
                    url=self.url, api_key=key, timeout=30, check_compatibility=False
                )
        except RuntimeError as error:  # the folder is open elsewhere
            raise StorageError(
                f"{self.where} is in use by another process",
                next_step="Wait for it to end; a Qdrant server takes many.",
            ) from error
        try:
            yield client
        except ApiException as error:
            said = str(error).strip().splitlines() or [type(error).__name__]
            raise StorageError(
                f"{self.where}: {said[0]}",
                next_step="See that the server is up and lets you in, then run the same again: "
                "what was published is whole, and what was computed is kept.",
            ) from error
        finally:
            client.close()


def _make(client: Any, index: str, dimension: int | None) -> None:
    from qdrant_client import models

    dense = {}
    if dimension is not None:
        dense["dense"] = models.VectorParams(size=dimension, distance=models.Distance.DOT)
    words = {"words": models.SparseVectorParams(modifier=models.Modifier.IDF)}
    for name, vectors, sparse in ((index, dense, words), (f"{index}-documents", {}, None)):
        if client.collection_exists(name):  # a run that was killed before its first facts
            client.delete_collection(name)
        client.create_collection(name, vectors_config=vectors, sparse_vectors_config=sparse)
        if not _is_local(client):
            fields = {"born": "integer", "died": "integer", "source": "keyword"}
            for field, kind in {**fields, "labels": "keyword"}.items():
                client.create_payload_index(name, field, field_schema=kind)


def _tidy(client: Any, index: str, live: int) -> None:
    """What died is deleted, what an unfinished run did is undone; computed vectors stay."""
    from qdrant_client import models

    for name in (index, f"{index}-documents"):
        client.delete(name, models.FilterSelector(filter=_between("died", None, live)), wait=True)
        unborn = _between("born", live + 1, STAGED - 1)
        client.delete(name, models.FilterSelector(filter=unborn), wait=True)
        dying = _between("died", live + 1, NEVER - 1)
        client.set_payload(name, {"died": NEVER}, points=dying, wait=True)


class QdrantReader:
    """The points that live in one version."""

    def __init__(self, client: Any, index: str, found: dict[str, Any]) -> None:
        self._client, self._index, self._found = client, index, found
        self._live = int(found["live"])

    def facts(self) -> dict[str, str]:
        """See `Reader`."""
        return dict(self._found["facts"])

    def counts(self) -> tuple[int, int]:
        """See `Reader`."""
        one, two = (
            self._client.count(n, count_filter=_alive(self._live), exact=True).count
            for n in (self._index, f"{self._index}-documents")
        )
        return one, two

    def nearest(self, vectors: Vectors, k: int, where: Where = ()) -> list[Ranking]:
        """Through Qdrant's graph where the index is large, else exact."""
        from qdrant_client import models

        how = None  # in a folder Qdrant is exact
        if not _is_local(self._client):
            large = self.counts()[0] >= GRAPH_FROM
            how = models.SearchParams(hnsw_ef=max(128, 2 * k), exact=not large)
        return [self._found_by(v.tolist(), "dense", k, where, how) for v in vectors]

    def matching(self, queries: Sequence[str], k: int, where: Where = ()) -> list[Ranking]:
        """See `Reader`; the lengths of passages weigh by what the settings let expect."""
        from qdrant_client import models

        stemmer = json.loads(self.facts()["settings"])["stemmer"]
        out: list[Ranking] = []
        for query in queries:
            terms = query_terms(query, stemmer)
            asked = models.SparseVector(indices=terms, values=[1.0] * len(terms))
            out.append(self._found_by(asked, "words", k, where) if terms else [])
        return out

    def passages(self, ids: Sequence[str]) -> list[Passage]:
        """See `Reader`."""
        found = {}
        for point in self._client.retrieve(self._index, [str(uuid.UUID(i)) for i in ids]):
            load = point.payload
            if load["born"] <= self._live:
                found[_plain(point.id)] = as_passage(
                    _plain(point.id), load["source"], load["text"], json.loads(load["place"])
                )
        return [found[i] for i in ids]

    def vectors(self, ids: Sequence[str]) -> dict[str, Vectors]:
        """See `Reader`."""
        return _vectors(self._client, self._index, ids)

    def _found_by(self, asked: Any, using: str, k: int, where: Where, how: Any = None) -> Ranking:
        found = self._client.query_points(
            self._index, query=asked, using=using, limit=k, search_params=how,
            query_filter=_alive(self._live, where), with_payload=False,
        ).points  # fmt: skip
        return [(_plain(p.id), float(p.score)) for p in found]


class QdrantWriter:
    """Adds points of the next version, then makes it live."""

    def __init__(
        self, client: Any, index: str, found: dict[str, Any], settings: IndexSettings,
        lease: Lease,
    ) -> None:  # fmt: skip
        self._client, self._index, self._found = client, index, found
        self._settings, self._lease = settings, lease
        self._documents = f"{index}-documents"

    def facts(self) -> dict[str, str]:
        """See `Writer`."""
        return dict(self._found["facts"])

    def held(self) -> dict[str, StoredDocument]:
        """See `Writer`."""
        out = {}
        for point in _scrolled(self._client, self._documents, _alive(self._found["live"])):
            load = point.payload
            out[load["source"]] = StoredDocument(
                load["digest"], load["origin"], tuple(load["stamp"])
            )
        return out

    def without_vector(self, ids: Sequence[str]) -> set[str]:
        """See `Writer`."""
        return set(ids) - set(_vectors(self._client, self._index, ids))

    def keep_computed(self, ids: Sequence[str], vectors: Vectors) -> None:
        """See `Writer`."""
        self._lease.renew()
        load = {"born": STAGED, "died": NEVER}
        points = [
            (str(uuid.UUID(i)), load, {"dense": v.tolist()})
            for i, v in zip(ids, vectors, strict=True)
        ]
        _put(self._client, self._index, points)

    def publish(self, edition: Edition) -> None:
        """See `Writer`."""
        from qdrant_client import models

        live = int(self._found["live"])
        left = [*edition.gone, *edition.new]
        new = {p.id: p for _, passages in edition.new.values() for p in passages}
        for at in range(0, len(left), BATCH):
            of_these = _alive(live, sources=left[at : at + BATCH])
            self._client.set_payload(
                self._documents, {"died": live + 1}, points=of_these, wait=True
            )
            there = {_plain(p.id) for p in _scrolled(self._client, self._index, of_these)}
            dying = [str(uuid.UUID(i)) for i in there - set(new)]
            if dying:
                self._client.set_payload(self._index, {"died": live + 1}, points=dying, wait=True)
            for same in there & set(new):
                del new[same]
        self._add(list(new.values()), live + 1)
        self._describe(edition, live + 1)
        self._lease.check()
        self._found = {
            **self._found, "live": live + 1, "facts": {**self._found["facts"], **edition.facts},
        }  # fmt: skip
        _put(self._client, self._documents, [(FACTS, self._found, {})])
        staged = models.FilterSelector(filter=_between("born", STAGED, None))
        self._client.delete(self._index, staged, wait=True)

    def passages(self) -> int:
        """See `Writer`."""
        return QdrantReader(self._client, self._index, self._found).counts()[0]

    def _add(self, passages: Sequence[Passage], born: int) -> None:
        from qdrant_client import models

        for at in range(0, len(passages), BATCH):
            self._lease.renew()
            part = passages[at : at + BATCH]
            known = _vectors(self._client, self._index, [p.id for p in part])
            points = []
            for p in part:
                terms, values = document_terms(f"{p.header}\n{p.text}", self._settings)
                vectors: dict[str, Any] = {}
                if terms:
                    vectors["words"] = models.SparseVector(indices=terms, values=values)
                if p.id in known:
                    vectors["dense"] = known[p.id].tolist()
                load = {
                    "born": born, "died": NEVER, "source": p.source, "text": p.text,
                    "place": json.dumps(place_of(p)), "labels": labels_of(p),
                }  # fmt: skip
                points.append((str(uuid.UUID(p.id)), load, vectors))
            _put(self._client, self._index, points)

    def _describe(self, edition: Edition, born: int) -> None:
        points: list[tuple[str, Any, Any]] = [
            (str(uuid.uuid4()), {**_document(name, held), "born": born, "died": NEVER}, {})
            for name, (held, _) in edition.new.items()
        ]
        for at in range(0, len(points), BATCH):
            _put(self._client, self._documents, points[at : at + BATCH])
        for name, held in edition.restamped.items():  # says what it said: no version of its own
            self._client.set_payload(
                self._documents, _document(name, held), points=_alive(born - 1, sources=[name]),
                wait=True,
            )  # fmt: skip


def _put(client: Any, collection: str, points: Sequence[tuple[str, Any, Any]]) -> None:
    from qdrant_client import models

    made = [models.PointStruct(id=i, payload=load, vector=v) for i, load, v in points]
    client.upsert(collection, made, wait=True)


def _document(name: str, held: StoredDocument) -> dict[str, Any]:
    return {
        "source": name, "digest": held.digest, "origin": held.origin, "stamp": list(held.stamp),
    }  # fmt: skip


def _between(field: str, least: int | None, most: int | None) -> Any:
    from qdrant_client import models

    return models.Filter(
        must=[models.FieldCondition(key=field, range=models.Range(gte=least, lte=most))]
    )


def _alive(live: int, where: Where = (), sources: Sequence[str] = ()) -> Any:
    from qdrant_client import models

    must: list[Any] = [
        *_between("born", None, live).must, *_between("died", live + 1, None).must,
        *(
            models.FieldCondition(key="labels", match=models.MatchValue(value=f"{k}={v}"))
            for k, v in where
        ),
    ]  # fmt: skip
    if sources:
        any_of = models.MatchAny(any=list(sources))
        must.append(models.FieldCondition(key="source", match=any_of))
    return models.Filter(must=must)


def _scrolled(client: Any, collection: str, asked: Any) -> Iterator[Any]:
    at = None
    while True:
        points, at = client.scroll(collection, asked, limit=1000, offset=at)
        yield from points
        if at is None:
            return


def _vectors(client: Any, index: str, ids: Sequence[str]) -> dict[str, Vectors]:
    points = client.retrieve(
        index, [str(uuid.UUID(i)) for i in ids], with_payload=False, with_vectors=True
    )
    found = {_plain(p.id): (p.vector or {}).get("dense") for p in points}
    return {i: np.array(v, np.float32) for i, v in found.items() if v is not None}


def _is_local(client: Any) -> bool:
    return "Local" in type(client._client).__name__


def _plain(point_id: Any) -> str:
    return uuid.UUID(str(point_id)).hex
