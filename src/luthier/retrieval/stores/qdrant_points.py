"""Points of Qdrant: written, read and filtered by the versions in which they exist.

The payload of every passage and document has two numbers: `born`, the first version in which it
exists, and `died`, the first in which it no longer does.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from luthier.retrieval.index_store import MetadataFilter, StoredDocument, Vectors

# Keys of the payload, as they are stored.
SINCE, UNTIL = "born", "died"
NEVER = 2**40  # the value of UNTIL for what exists
STAGED = 2**39  # the value of SINCE for a computed vector that is not published yet
BATCH = 256


def put_points(client: Any, collection: str, points: Sequence[tuple[str, Any, Any]]) -> None:
    """Write (id, payload, vectors) as points."""
    from qdrant_client import models

    structs = [models.PointStruct(id=i, payload=load, vector=v) for i, load, v in points]
    client.upsert(collection, structs, wait=True)


def document_payload(name: str, document: StoredDocument) -> dict[str, Any]:
    """What is stored of a document."""
    return {
        "source": name, "digest": document.digest, "origin": document.origin,
        "stamp": list(document.stamp),
    }  # fmt: skip


def between(field: str, least: int | None, most: int | None) -> Any:
    """A filter for points whose field lies in a range; None is no bound."""
    from qdrant_client import models

    return models.Filter(
        must=[models.FieldCondition(key=field, range=models.Range(gte=least, lte=most))]
    )


def existing_in(version: int, where: MetadataFilter = (), sources: Sequence[str] = ()) -> Any:
    """A filter for the points of a version, by metadata and by source."""
    from qdrant_client import models

    must: list[Any] = [
        *between(SINCE, None, version).must, *between(UNTIL, version + 1, None).must,
        *(
            models.FieldCondition(key="labels", match=models.MatchValue(value=f"{k}={v}"))
            for k, v in where
        ),
    ]  # fmt: skip
    if sources:
        any_of = models.MatchAny(any=list(sources))
        must.append(models.FieldCondition(key="source", match=any_of))
    return models.Filter(must=must)


def all_points(client: Any, collection: str, condition: Any) -> Iterator[Any]:
    """Every point that fits a filter."""
    offset = None
    while True:
        points, offset = client.scroll(collection, condition, limit=1000, offset=offset)
        yield from points
        if offset is None:
            return


def stored_vectors(client: Any, index: str, ids: Sequence[str]) -> dict[str, Vectors]:
    """The vectors of those of the passages that have one."""
    points = client.retrieve(
        index, [point_id(i) for i in ids], with_payload=False, with_vectors=True
    )
    found = {passage_id(p.id): (p.vector or {}).get("dense") for p in points}
    return {i: np.array(v, np.float32) for i, v in found.items() if v is not None}


def is_local(client: Any) -> bool:
    """Whether Qdrant runs in this process, on a folder."""
    return "Local" in type(client._client).__name__


def point_id(passage: str) -> str:
    """The id of a passage as Qdrant's."""
    return str(uuid.UUID(passage))


def passage_id(point: Any) -> str:
    """The id of a passage from Qdrant's."""
    return uuid.UUID(str(point)).hex
