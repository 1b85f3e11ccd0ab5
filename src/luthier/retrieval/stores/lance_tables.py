"""Reading and writing the tables of an index in LanceDB."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, Protocol

import numpy as np

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
from luthier.retrieval.types import IndexSettings, Passage
from luthier.scripts import search_terms, searchable

KEYS_PER_CONDITION = 500
VERSIONS_KEPT = timedelta(days=1)  # a reader may still use an older version


class PointerStore(Protocol):
    """The store whose file says which versions of the tables count."""

    def write_pointer(self, facts: dict[str, str], versions: dict[str, int]) -> None:
        """Make these versions the ones that count."""


class LanceReader:
    """Reads two tables, each at one version."""

    def __init__(self, passages: Any, documents: Any, facts: dict[str, str]) -> None:
        self._passages, self._documents, self._facts = passages, documents, facts

    def facts(self) -> dict[str, str]:
        """See `IndexReader`."""
        return dict(self._facts)

    def counts(self) -> tuple[int, int]:
        """See `IndexReader`."""
        return self._passages.count_rows(), self._documents.count_rows()

    def nearest(self, vectors: Vectors, k: int, where: MetadataFilter = ()) -> list[Ranking]:
        """By a graph, with refined scores, where the index is large; else exact."""
        rankings: list[Ranking] = []
        for vector in vectors:
            search = self._passages.search(vector, vector_column_name="vector")
            search = search.distance_type("dot").refine_factor(2).ef(max(150, 2 * k)).limit(k)
            rows = _filtered(search, where).select(["id", "_distance"]).to_list()
            rankings.append([(r["id"], 1 - r["_distance"]) for r in rows])
        return rankings

    def matching(self, queries: Sequence[str], k: int, where: MetadataFilter = ()) -> list[Ranking]:
        """By LanceDB's own inverted index."""
        rankings: list[Ranking] = []
        for query in queries:
            words = " ".join(search_terms(query))
            if not words or not self._passages.count_rows():
                rankings.append([])
                continue
            search = self._passages.search(words, query_type="fts", fts_columns="words").limit(k)
            rows = _filtered(search, where).select(["id", "_score"]).to_list()
            rankings.append([(r["id"], float(r["_score"])) for r in rows])
        return rankings

    def passages(self, ids: Sequence[str]) -> list[Passage]:
        """See `IndexReader`."""
        rows = _rows(self._passages, "id", ids, ["id", "source", "text", "place"])
        found = {
            r["id"]: as_passage(r["id"], r["source"], r["text"], json.loads(r["place"]))
            for r in rows
        }
        return [found[i] for i in ids]

    def vectors(self, ids: Sequence[str]) -> dict[str, Vectors]:
        """See `IndexReader`."""
        return _vectors(self._passages, ids)


class LanceWriter:
    """Appends to the tables; only `publish` makes the changes count."""

    def __init__(
        self, store: PointerStore, db: Any, facts: dict[str, str], settings: IndexSettings
    ) -> None:
        self._store, self._facts, self._settings = store, facts, settings
        self._passages, self._documents, self._computed = (
            db.open_table(n) for n in ("passages", "documents", "computed")
        )

    def facts(self) -> dict[str, str]:
        """See `IndexWriter`."""
        return dict(self._facts)

    def documents(self) -> dict[str, StoredDocument]:
        """See `IndexWriter`."""
        rows = self._documents.to_arrow().to_pylist()
        return {
            r["source"]: StoredDocument(r["digest"], r["origin"], tuple(r["stamp"])) for r in rows
        }

    def without_vector(self, ids: Sequence[str]) -> set[str]:
        """See `IndexWriter`."""
        return set(ids) - {*_vectors(self._computed, ids), *_vectors(self._passages, ids)}

    def keep_computed(self, ids: Sequence[str], vectors: Vectors) -> None:
        """See `IndexWriter`."""
        self._computed.add([{"id": i, "vector": v} for i, v in zip(ids, vectors, strict=True)])

    def publish(self, update: IndexUpdate) -> None:
        """See `IndexWriter`."""
        new = update.passages
        ids = [p.id for p in new]
        known = {**_vectors(self._passages, ids), **_vectors(self._computed, ids)}
        _delete(self._passages, update.replaced)
        _delete(self._documents, [*update.replaced, *update.restamped])
        documents = [
            {"source": n, "digest": d.digest, "origin": d.origin, "stamp": list(d.stamp)}
            for n, d in update.records.items()
        ]
        if documents:
            self._documents.add(documents)
        if new:
            self._passages.add([_row(p, known) for p in {p.id: p for p in new}.values()])
        self._update_indices()
        self._facts.update(update.facts)
        versions = {"passages": self._passages.version, "documents": self._documents.version}
        self._store.write_pointer(self._facts, versions)
        self._computed.delete("true")

    def passages(self) -> int:
        """See `IndexWriter`."""
        return int(self._passages.count_rows())

    def _update_indices(self) -> None:
        """Index the words, and the vectors once there are many; drop old versions."""
        rows = self._passages.count_rows()
        indexed = {column for index in self._passages.list_indices() for column in index.columns}
        if rows and "words" not in indexed:
            self._passages.create_fts_index(
                "words", stem=self._settings.stemmer == "english", remove_stop_words=False
            )
        dense = "vector" in self._passages.schema.names
        if dense and rows >= GRAPH_FROM and "vector" not in indexed:
            self._passages.create_index(
                metric="dot",
                index_type="IVF_HNSW_SQ",
                num_partitions=1,
                ef_construction=100,
                vector_column_name="vector",
            )
        for table in (self._passages, self._documents):
            table.optimize(cleanup_older_than=VERSIONS_KEPT)


def _row(p: Passage, known: dict[str, Vectors]) -> dict[str, Any]:
    row = {
        "id": p.id, "source": p.source, "text": p.text,
        "words": searchable(f"{p.header}\n{p.text}"),
        "place": json.dumps(place_of(p)), "labels": metadata_labels(p),
    }  # fmt: skip
    return {**row, "vector": known[p.id]} if p.id in known else row


def _filtered(search: Any, where: MetadataFilter) -> Any:
    if not where:
        return search
    parts = [f"array_has(labels, {_quoted(f'{k}={v}')})" for k, v in where]
    return search.where(" AND ".join(parts), prefilter=True)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _key_lists(keys: Sequence[str]) -> Iterator[str]:
    for start in range(0, len(keys), KEYS_PER_CONDITION):
        yield ", ".join(map(_quoted, keys[start : start + KEYS_PER_CONDITION]))


def _rows(table: Any, column: str, keys: Sequence[str], wanted: list[str]) -> list[dict[str, Any]]:
    rows = []
    for part in _key_lists(keys):
        search = table.search().where(f"{column} IN ({part})").select(wanted).limit(None)
        rows += search.to_list()
    return rows


def _vectors(table: Any, ids: Sequence[str]) -> dict[str, Vectors]:
    if "vector" not in table.schema.names:
        return {}
    rows = _rows(table, "id", ids, ["id", "vector"])
    return {r["id"]: np.array(r["vector"], np.float32) for r in rows if r["vector"] is not None}


def _delete(table: Any, sources: Sequence[str]) -> None:
    for part in _key_lists(sources):
        table.delete(f"source IN ({part})")
