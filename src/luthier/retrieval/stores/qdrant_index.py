"""Reading and writing an index in Qdrant."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from typing import Any

from luthier.retrieval.index_store import (
    GRAPH_FROM,
    IndexUpdate,
    MetadataFilter,
    Ranking,
    StoredDocument,
    Vectors,
    as_passage,
    metadata_labels,
    place_of,
)
from luthier.retrieval.stores.lease import Lease
from luthier.retrieval.stores.qdrant_points import (
    BATCH,
    NEVER,
    SINCE,
    STAGED,
    UNTIL,
    all_points,
    between,
    document_payload,
    existing_in,
    is_local,
    passage_id,
    point_id,
    put_points,
    stored_vectors,
)
from luthier.retrieval.stores.words import document_terms, query_terms
from luthier.retrieval.types import IndexSettings, Passage

FACTS = str(uuid.UUID(int=1))  # the point that says which version is live


class QdrantReader:
    """The points of one version."""

    def __init__(self, client: Any, index: str, state: dict[str, Any]) -> None:
        self._client, self._index, self._state = client, index, state
        self._live = int(state["live"])

    def facts(self) -> dict[str, str]:
        """See `IndexReader`."""
        return dict(self._state["facts"])

    def counts(self) -> tuple[int, int]:
        """See `IndexReader`."""
        passages, documents = (
            self._client.count(n, count_filter=existing_in(self._live), exact=True).count
            for n in (self._index, f"{self._index}-documents")
        )
        return passages, documents

    def nearest(self, vectors: Vectors, k: int, where: MetadataFilter = ()) -> list[Ranking]:
        """By Qdrant's graph where the index is large, else exact."""
        from qdrant_client import models

        parameters = None  # in a folder Qdrant is exact
        if not is_local(self._client):
            large = self.counts()[0] >= GRAPH_FROM
            parameters = models.SearchParams(hnsw_ef=max(128, 2 * k), exact=not large)
        return [self._ranking(v.tolist(), "dense", k, where, parameters) for v in vectors]

    def matching(self, queries: Sequence[str], k: int, where: MetadataFilter = ()) -> list[Ranking]:
        """See `IndexReader`. The average length in BM25 is estimated from the settings."""
        from qdrant_client import models

        stemmer = json.loads(self.facts()["settings"])["stemmer"]
        rankings: list[Ranking] = []
        for query in queries:
            terms = query_terms(query, stemmer)
            sparse = models.SparseVector(indices=terms, values=[1.0] * len(terms))
            rankings.append(self._ranking(sparse, "words", k, where) if terms else [])
        return rankings

    def passages(self, ids: Sequence[str]) -> list[Passage]:
        """See `IndexReader`."""
        found = {}
        for point in self._client.retrieve(self._index, [point_id(i) for i in ids]):
            payload = point.payload
            if payload[SINCE] <= self._live:
                id = passage_id(point.id)
                place = json.loads(payload["place"])
                found[id] = as_passage(id, payload["source"], payload["text"], place)
        return [found[i] for i in ids]

    def vectors(self, ids: Sequence[str]) -> dict[str, Vectors]:
        """See `IndexReader`."""
        return stored_vectors(self._client, self._index, ids)

    def _ranking(
        self, query: Any, using: str, k: int, where: MetadataFilter, parameters: Any = None
    ) -> Ranking:
        points = self._client.query_points(
            self._index, query=query, using=using, limit=k, search_params=parameters,
            query_filter=existing_in(self._live, where), with_payload=False,
        ).points  # fmt: skip
        return [(passage_id(p.id), float(p.score)) for p in points]


class QdrantWriter:
    """Adds points of the next version, then makes it live."""

    def __init__(
        self, client: Any, index: str, state: dict[str, Any], settings: IndexSettings,
        lease: Lease,
    ) -> None:  # fmt: skip
        self._client, self._index, self._state = client, index, state
        self._settings, self._lease = settings, lease
        self._documents = f"{index}-documents"

    def facts(self) -> dict[str, str]:
        """See `IndexWriter`."""
        return dict(self._state["facts"])

    def documents(self) -> dict[str, StoredDocument]:
        """See `IndexWriter`."""
        found = {}
        for point in all_points(self._client, self._documents, existing_in(self._state["live"])):
            payload = point.payload
            found[payload["source"]] = StoredDocument(
                payload["digest"], payload["origin"], tuple(payload["stamp"])
            )
        return found

    def without_vector(self, ids: Sequence[str]) -> set[str]:
        """See `IndexWriter`."""
        return set(ids) - set(stored_vectors(self._client, self._index, ids))

    def keep_computed(self, ids: Sequence[str], vectors: Vectors) -> None:
        """See `IndexWriter`."""
        self._lease.renew()
        payload = {SINCE: STAGED, UNTIL: NEVER}
        points = [
            (point_id(i), payload, {"dense": v.tolist()}) for i, v in zip(ids, vectors, strict=True)
        ]
        put_points(self._client, self._index, points)

    def publish(self, update: IndexUpdate) -> None:
        """See `IndexWriter`."""
        from qdrant_client import models

        live = int(self._state["live"])
        replaced = update.replaced
        new = {p.id: p for p in update.passages}
        for start in range(0, len(replaced), BATCH):
            condition = existing_in(live, sources=replaced[start : start + BATCH])
            self._client.set_payload(
                self._documents, {UNTIL: live + 1}, points=condition, wait=True
            )
            present = {passage_id(p.id) for p in all_points(self._client, self._index, condition)}
            ending = [point_id(i) for i in present - set(new)]
            if ending:
                self._client.set_payload(self._index, {UNTIL: live + 1}, points=ending, wait=True)
            for same in present & set(new):
                del new[same]
        self._add_passages(list(new.values()), live + 1)
        self._add_documents(update, live + 1)
        self._lease.check()
        self._state = {
            **self._state, "live": live + 1, "facts": {**self._state["facts"], **update.facts},
        }  # fmt: skip
        put_points(self._client, self._documents, [(FACTS, self._state, {})])
        staged = models.FilterSelector(filter=between(SINCE, STAGED, None))
        self._client.delete(self._index, staged, wait=True)

    def passages(self) -> int:
        """See `IndexWriter`."""
        return QdrantReader(self._client, self._index, self._state).counts()[0]

    def _add_passages(self, passages: Sequence[Passage], version: int) -> None:
        from qdrant_client import models

        for start in range(0, len(passages), BATCH):
            self._lease.renew()
            batch = passages[start : start + BATCH]
            known = stored_vectors(self._client, self._index, [p.id for p in batch])
            points = []
            for p in batch:
                terms, values = document_terms(f"{p.header}\n{p.text}", self._settings)
                vectors: dict[str, Any] = {}
                if terms:
                    vectors["words"] = models.SparseVector(indices=terms, values=values)
                if p.id in known:
                    vectors["dense"] = known[p.id].tolist()
                payload = {
                    SINCE: version, UNTIL: NEVER, "source": p.source, "text": p.text,
                    "place": json.dumps(place_of(p)), "labels": metadata_labels(p),
                }  # fmt: skip
                points.append((point_id(p.id), payload, vectors))
            put_points(self._client, self._index, points)

    def _add_documents(self, update: IndexUpdate, version: int) -> None:
        points: list[tuple[str, Any, Any]] = [
            (str(uuid.uuid4()), {**document_payload(name, d), SINCE: version, UNTIL: NEVER}, {})
            for name, (d, _) in update.added.items()
        ]
        for start in range(0, len(points), BATCH):
            put_points(self._client, self._documents, points[start : start + BATCH])
        for name, document in update.restamped.items():  # the same content needs no new version
            self._client.set_payload(
                self._documents, document_payload(name, document),
                points=existing_in(version - 1, sources=[name]), wait=True,
            )  # fmt: skip
