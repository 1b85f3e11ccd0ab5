"""Qdrant, on a server or, for trying out, in a folder. It has no transactions but versions.

Every passage and document carries the versions between which it exists; one point of facts says
which version is live, and writing it is what publishes. Readers filter by the version that they
found live. What was removed stays until the next run, for readers that are still at work.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from luthier.errors import StorageError, UserError, from_extra
from luthier.retrieval.index_store import Dimension
from luthier.retrieval.stores.lease import Lease
from luthier.retrieval.stores.qdrant_index import FACTS, QdrantReader, QdrantWriter
from luthier.retrieval.stores.qdrant_points import (
    NEVER,
    SINCE,
    STAGED,
    UNTIL,
    between,
    is_local,
    put_points,
)
from luthier.retrieval.types import IndexSettings

VERSION = 1  # of the format


class QdrantStore:
    """An index at `qdrant+http://HOST:6333#INDEX` or `qdrant://FOLDER#INDEX`; INDEX is "luthier" by
    default."""

    name = "qdrant"

    def __init__(self, address: str) -> None:
        """UserError where the name of the index is not valid."""
        self.address = address
        url, _, name = address.partition("#")
        self.index = name or "luthier"
        if not re.fullmatch(r"[\w-]{1,100}", self.index):
            raise UserError(f"{self.index!r} is not a name for an index in Qdrant")
        self.url = url.removeprefix("qdrant+") if url.startswith("qdrant+") else None
        self.folder = url.removeprefix("qdrant://")

    @contextmanager
    def reader(self) -> Iterator[QdrantReader]:
        """The version that is live now."""
        with self._connected() as client:
            state = self._state(client)
            if state is None:
                raise UserError(
                    f"No index in {self.address}",
                    next_step=f"Make one: luthier index docs/ --into '{self.address}'",
                )
            yield QdrantReader(client, self.index, state)

    @contextmanager
    def writer(self, settings: IndexSettings, dimension: Dimension) -> Iterator[QdrantWriter]:
        """The lock is a lease: that of a run killed on another machine ends after two minutes."""
        with self._connected() as client:
            state = self._state(client)
            if state is None:
                _create(client, self.index, None if dimension is None else dimension())
                state = {"live": 0, "version": VERSION, "facts": {}}
                put_points(client, f"{self.index}-documents", [(FACTS, state, {})])
            lease = Lease(client, f"{self.index}-documents", self.address)
            lease.acquire()
            try:
                _clean_up(client, self.index, int(state["live"]))
                yield QdrantWriter(client, self.index, state, settings, lease)
            finally:
                lease.release()

    def bytes(self) -> int | None:
        """None: the server keeps it."""
        return None

    def _state(self, client: Any) -> dict[str, Any] | None:
        if not client.collection_exists(f"{self.index}-documents"):
            return None
        points = client.retrieve(f"{self.index}-documents", [FACTS])
        if not points:
            return None
        state: dict[str, Any] = points[0].payload
        if state["version"] > VERSION:
            raise StorageError(
                f"The index in {self.address} is of version {state['version']}, newer than this "
                f"luthier reads ({VERSION})",
                next_step="Update luthier, or build the index again under another name.",
            )
        return state

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        with from_extra("qdrant", "Qdrant needs qdrant-client, which is not installed"):
            from qdrant_client import QdrantClient
            from qdrant_client.http.exceptions import ApiException
        try:
            if self.url is None:
                client = QdrantClient(path=self.folder)
            else:
                key = os.environ.get("QDRANT_API_KEY")
                client = QdrantClient(
                    url=self.url, api_key=key, timeout=30, check_compatibility=False
                )
        except RuntimeError as error:  # another process has the folder open
            raise StorageError(
                f"{self.address} is in use by another process",
                next_step="Wait for it to end; a Qdrant server takes many.",
            ) from error
        try:
            yield client
        except ApiException as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise StorageError(
                f"{self.address}: {lines[0]}",
                next_step="Check that the server is up and accepts you, then run the same again: "
                "what was published is whole, and what was computed is kept.",
            ) from error
        finally:
            client.close()


def _create(client: Any, index: str, dimension: int | None) -> None:
    from qdrant_client import models

    dense = {}
    if dimension is not None:
        dense["dense"] = models.VectorParams(size=dimension, distance=models.Distance.DOT)
    words = {"words": models.SparseVectorParams(modifier=models.Modifier.IDF)}
    for name, vectors, sparse in ((index, dense, words), (f"{index}-documents", {}, None)):
        if client.collection_exists(name):  # a run that was killed before its first facts
            client.delete_collection(name)
        client.create_collection(name, vectors_config=vectors, sparse_vectors_config=sparse)
        if not is_local(client):
            fields = {SINCE: "integer", UNTIL: "integer", "source": "keyword"}
            for field, kind in {**fields, "labels": "keyword"}.items():
                client.create_payload_index(name, field, field_schema=kind)


def _clean_up(client: Any, index: str, live: int) -> None:
    """Delete what was removed and undo what an unfinished run did; computed vectors stay."""
    from qdrant_client import models

    for name in (index, f"{index}-documents"):
        client.delete(name, models.FilterSelector(filter=between(UNTIL, None, live)), wait=True)
        unpublished = between(SINCE, live + 1, STAGED - 1)
        client.delete(name, models.FilterSelector(filter=unpublished), wait=True)
        ending = between(UNTIL, live + 1, NEVER - 1)
        client.set_payload(name, {UNTIL: NEVER}, points=ending, wait=True)
