"""The nearest vectors of an index in a folder: exact while it is small, by a graph when large.

The graph (HNSW, Malkov and Yashunin 2016) is a file beside the database, from which it can be built
again. It contains the vectors of the time when it was built, in half precision. What it finds is
looked up in the database and scored exactly; passages added since are compared one by one, and
removed ones are no longer in the database. Therefore the graph need not change with every edit, a
reader without it gets the right answer too, and a kill leaves at most an unused file.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.errors import StorageError
from luthier.retrieval.index_store import GRAPH_FROM, Ranking, Vectors

KIND = "HNSW32,SQfp16"
BUILD_BREADTH, SEARCH_BREADTH = 100, 128  # candidates kept (efConstruction, efSearch)
STALE = 0.2  # the share of removed and added vectors from which a new graph is built
MARGIN = 10  # found beyond k, for rounding and for removed passages
ADD_BATCH = 10_000
GRAPH_NAME = re.compile(r"\.?graph-[0-9A-Za-z-]{1,64}\.faiss")


@dataclass(frozen=True, slots=True)
class GraphFacts:
    """The file of a graph, which contains all `size` passages with a number up to `top`."""

    file: str
    top: int
    size: int


class DenseSearch:
    """Search by vectors, with those of the last version read in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._loaded: tuple[tuple[str, str, int], NDArray[np.int64], Vectors] | None = None
        self._open_graph: tuple[GraphFacts | None, Any] = (None, None)

    def nearest(
        self, db: sqlite3.Connection, facts: Mapping[str, str], vectors: Vectors, k: int,
        among: Sequence[int] | None,
    ) -> list[Ranking]:  # fmt: skip
        """Ids of passages and inner products for each vector.

        `among` restricts the search to passages of these numbers; None is all.
        """
        known = graph_facts(facts)
        graph = self._graph(known) if known is not None and among is None else None
        if known is None or graph is None:
            return self._exactly(db, facts, vectors, k, among)
        rest, matrix = self._load(db, facts, known.top)
        breadth = min(k + MARGIN, known.size)
        import faiss

        inner: Any = faiss.downcast_index(graph.index)
        inner.hnsw.efSearch = max(SEARCH_BREADTH, 2 * breadth)
        _, found = graph.search(np.ascontiguousarray(vectors, np.float32), breadth)
        out = []
        for vector, numbers in zip(vectors, found.tolist(), strict=True):
            ranking = _scored(db, numbers, vector)
            if len(ranking) < k:  # many near passages were removed
                more = graph.search(vector[None].astype(np.float32), min(10 * breadth, known.size))
                ranking = _scored(db, more[1][0].tolist(), vector)
                if len(ranking) < min(k, _remaining(db, known)):  # most were removed
                    return self._exactly(db, facts, vectors, k, None)
            ranking += _with_ids(db, exact_nearest(rest, matrix, vector, k))
            out.append(sorted(ranking, key=lambda pair: (-pair[1], pair[0]))[:k])
        return out

    def update_graph(self, db: sqlite3.Connection) -> None:
        """Build a graph where there are enough vectors and no graph, or a stale one."""
        facts = dict(db.execute("SELECT key, value FROM facts"))
        count = db.execute("SELECT count(*) FROM passages").fetchone()[0]
        known = graph_facts(facts)
        if not facts.get("dimension") or count < GRAPH_FROM:
            if known is not None:
                db.execute("DELETE FROM facts WHERE key = 'graph'")
                (self.folder / known.file).unlink(missing_ok=True)
            return
        if known is not None and (self.folder / known.file).is_file():
            remaining = _remaining(db, known)
            if known.size - remaining + count - remaining <= STALE * known.size:
                return
        try:
            import faiss
        except ImportError:  # search stays exact
            return
        numbers, matrix = read_vectors(db)
        graph: Any = faiss.index_factory(matrix.shape[1], KIND, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = BUILD_BREADTH
        mapped = faiss.IndexIDMap2(graph)
        for start in range(0, len(numbers), ADD_BATCH):  # so that Ctrl-C takes effect
            mapped.add_with_ids(
                matrix[start : start + ADD_BATCH], numbers[start : start + ADD_BATCH]
            )
        built = GraphFacts(
            f"graph-{facts['fingerprint'][:16]}.faiss", int(numbers[-1]), len(numbers)
        )
        scratch = self.folder / f".{built.file}"
        faiss.write_index(mapped, str(scratch))
        scratch.replace(self.folder / built.file)
        recorded = json.dumps([built.file, built.top, built.size])
        db.execute("INSERT OR REPLACE INTO facts VALUES ('graph', ?)", (recorded,))
        for old in [*self.folder.glob("graph-*.faiss"), *self.folder.glob(".graph-*.faiss")]:
            if old.name != built.file and GRAPH_NAME.fullmatch(old.name):
                old.unlink(missing_ok=True)

    def bytes(self) -> int:
        """The bytes of the graph on this disk."""
        return sum(p.stat().st_size for p in self.folder.glob("graph-*.faiss"))

    def _exactly(
        self, db: sqlite3.Connection, facts: Mapping[str, str], vectors: Vectors, k: int,
        among: Sequence[int] | None,
    ) -> list[Ranking]:  # fmt: skip
        numbers, matrix = self._load(db, facts, 0)
        if among is not None:
            chosen = np.isin(numbers, np.asarray(among, np.int64))
            numbers, matrix = numbers[chosen], matrix[chosen]
        return [_with_ids(db, exact_nearest(numbers, matrix, v, k)) for v in vectors]

    def _graph(self, known: GraphFacts) -> Any:
        """The graph; None where its library is missing or it has just been replaced."""
        if self._open_graph[0] != known:
            try:
                import faiss

                graph = faiss.read_index(str(self.folder / known.file))
            except (ImportError, RuntimeError):
                return None
            self._open_graph = (known, graph)
        return self._open_graph[1]

    def _load(
        self, db: sqlite3.Connection, facts: Mapping[str, str], above: int
    ) -> tuple[NDArray[np.int64], Vectors]:
        # The same content may come back under other numbers.
        version = (facts["fingerprint"], facts.get("numbers", ""), above)
        loaded = self._loaded
        if loaded is None or loaded[0] != version:
            loaded = self._loaded = (version, *read_vectors(db, above))
        return loaded[1], loaded[2]


@lru_cache(maxsize=2)
def dense_search(folder: Path) -> DenseSearch:
    """The search in a folder, which keeps its vectors however often the index is opened."""
    return DenseSearch(folder)


def graph_facts(facts: Mapping[str, str]) -> GraphFacts | None:
    """What an index records about its graph; None where it has none."""
    if "graph" not in facts:
        return None
    found = GraphFacts(*json.loads(facts["graph"]))
    if GRAPH_NAME.fullmatch(found.file) is None:  # made by hand: it may lead anywhere
        raise StorageError(
            f"the index names {found.file!r} as the file of its graph, which is none",
            next_step="Build the index again from its documents.",
        )
    return found


def _remaining(db: sqlite3.Connection, known: GraphFacts) -> int:
    """How many passages of a graph are still in the index."""
    query = "SELECT count(*) FROM passages WHERE number <= ?"
    return int(db.execute(query, (known.top,)).fetchone()[0])


def read_vectors(db: sqlite3.Connection, above: int = 0) -> tuple[NDArray[np.int64], Vectors]:
    """Numbers (N,) ascending and vectors (N, H) of the passages that have one, above a number."""
    query = (
        "SELECT number, vector FROM passages WHERE number > ? AND vector NOT NULL ORDER BY number"
    )
    rows = db.execute(query, (above,)).fetchall()
    numbers = np.array([r[0] for r in rows], np.int64)
    flat = np.frombuffer(b"".join(r[1] for r in rows), "<f4").astype(np.float32)
    return numbers, flat.reshape(len(rows), -1) if rows else flat.reshape(0, 0)


def exact_nearest(
    numbers: NDArray[np.int64], matrix: Vectors, vector: Vectors, k: int
) -> list[tuple[int, float]]:
    """The k largest inner products, ties by number."""
    if not len(numbers):
        return []
    scores = matrix @ vector
    best = np.arange(len(scores))
    if k < len(scores):
        least = np.partition(scores, len(scores) - k)[len(scores) - k]
        best = np.flatnonzero(scores >= least)
    best = best[np.argsort(-scores[best], kind="stable")][:k]
    return [(int(numbers[i]), float(scores[i])) for i in best]


def _with_ids(db: sqlite3.Connection, found: Sequence[tuple[int, float]]) -> Ranking:
    """Numbers with scores as ids with scores."""
    marks = ",".join("?" * len(found))
    query = f"SELECT number, id FROM passages WHERE number IN ({marks})"
    ids = dict(db.execute(query, [n for n, _ in found])) if found else {}
    return [(ids[n], score) for n, score in found]


def _scored(db: sqlite3.Connection, numbers: Sequence[int], vector: Vectors) -> Ranking:
    """The passages of these numbers that are still there, with their exact inner products."""
    marks = ",".join("?" * len(numbers))
    query = f"SELECT id, vector FROM passages WHERE number IN ({marks}) AND vector NOT NULL"
    rows = db.execute(query, numbers).fetchall()
    if not rows:
        return []
    flat = np.frombuffer(b"".join(v for _, v in rows), "<f4").reshape(len(rows), -1)
    return [(i, float(s)) for (i, _), s in zip(rows, flat @ vector, strict=True)]
