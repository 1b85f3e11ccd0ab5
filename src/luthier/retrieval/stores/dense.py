"""Nearest vectors of an index in a folder: exact while it is small, by a graph once it is large.

The graph (HNSW, Malkov and Yashunin 2016) is a file beside the database that can be made anew from
it. It holds the vectors that were there when it was made, in half precision; what it finds is
looked up in the database and scored exactly, passages that came since are compared one by one, and
those that went are not there to be looked up. So it need not change with every edit, a reader who
misses it is right all the same, and a kill leaves at most a file that nobody names.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.retrieval.index_store import GRAPH_FROM, Ranking, Vectors

KIND = "HNSW32,SQfp16"
BUILD_BREADTH, SEARCH_BREADTH = 100, 128  # of the candidates kept (efConstruction, efSearch)
STALE = 0.2  # of a graph's vectors: so many gone or new make it worth another
MARGIN = 10  # found beyond what is asked, for rounding and for passages that went
AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class GraphFacts:
    """Which file, and that it holds all `size` numbers up to `top` there were."""

    file: str
    top: int
    size: int


class Dense:
    """The vectors of the version that was read last."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seen: tuple[str, int] | None = None
        self._numbers: NDArray[np.int64] = np.zeros(0, np.int64)
        self._matrix: Vectors = np.zeros((0, 0), np.float32)
        self._opened: tuple[str, Any] = ("", None)

    def nearest(
        self, db: sqlite3.Connection, facts: Mapping[str, str], vectors: Vectors, k: int,
        among: Sequence[int] | None,
    ) -> list[Ranking]:  # fmt: skip
        """Ids of passages and inner products for each vector, among some numbers or among all."""
        known = graph_facts(facts)
        graph = self._graph(known) if known is not None and among is None else None
        if known is None or graph is None:
            return self._exactly(db, facts, vectors, k, among)
        self._load(db, facts["fingerprint"], known.top)
        wide = min(k + MARGIN, known.size)
        import faiss

        inner: Any = faiss.downcast_index(graph.index)
        inner.hnsw.efSearch = max(SEARCH_BREADTH, 2 * wide)
        _, found = graph.search(np.ascontiguousarray(vectors, np.float32), wide)
        out = []
        for vector, numbers in zip(vectors, found.tolist(), strict=True):
            ranking = _scored(db, numbers, vector)
            if len(ranking) < k:  # many went that were near
                far = graph.search(vector[None].astype(np.float32), min(10 * wide, known.size))
                ranking = _scored(db, far[1][0].tolist(), vector)
                if len(ranking) < min(k, _left(db, known)):  # most went
                    return self._exactly(db, facts, vectors, k, None)
            ranking += _named(db, exact(self._numbers, self._matrix, vector, k))
            out.append(sorted(ranking, key=lambda pair: (-pair[1], pair[0]))[:k])
        return out

    def follow(self, db: sqlite3.Connection) -> None:
        """Make a graph where there are vectors enough and the one there is is none or stale."""
        facts = dict(db.execute("SELECT key, value FROM facts"))
        count = db.execute("SELECT count(*) FROM passages").fetchone()[0]
        known = graph_facts(facts)
        if not facts.get("dimension") or count < GRAPH_FROM:
            if known is not None:
                db.execute("DELETE FROM facts WHERE key = 'graph'")
                (self.folder / known.file).unlink(missing_ok=True)
            return
        if known is not None and (self.folder / known.file).is_file():
            left = _left(db, known)
            if known.size - left + count - left <= STALE * known.size:
                return
        try:
            import faiss
        except ImportError:  # exact search serves
            return
        numbers, matrix = read_vectors(db)
        graph: Any = faiss.index_factory(matrix.shape[1], KIND, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = BUILD_BREADTH
        mapped = faiss.IndexIDMap2(graph)
        for at in range(0, len(numbers), AT_ONCE):  # so that Ctrl-C is heard
            mapped.add_with_ids(matrix[at : at + AT_ONCE], numbers[at : at + AT_ONCE])
        made = GraphFacts(
            f"graph-{facts['fingerprint'][:16]}.faiss", int(numbers[-1]), len(numbers)
        )
        scratch = self.folder / f".{made.file}"
        faiss.write_index(mapped, str(scratch))
        scratch.replace(self.folder / made.file)
        told = json.dumps([made.file, made.top, made.size])
        db.execute("INSERT OR REPLACE INTO facts VALUES ('graph', ?)", (told,))
        for old in self.folder.glob("*graph-*.faiss"):
            if old.name != made.file:
                old.unlink(missing_ok=True)

    def bytes(self) -> int:
        """Of the graph."""
        return sum(p.stat().st_size for p in self.folder.glob("graph-*.faiss"))

    def _exactly(
        self, db: sqlite3.Connection, facts: Mapping[str, str], vectors: Vectors, k: int,
        among: Sequence[int] | None,
    ) -> list[Ranking]:  # fmt: skip
        self._load(db, facts["fingerprint"], 0)
        numbers, matrix = self._numbers, self._matrix
        if among is not None:
            chosen = np.isin(numbers, np.asarray(among, np.int64))
            numbers, matrix = numbers[chosen], matrix[chosen]
        return [_named(db, exact(numbers, matrix, v, k)) for v in vectors]

    def _graph(self, known: GraphFacts) -> Any:
        """None where it cannot be had: its library is missing, or it was replaced just now."""
        if self._opened[0] != known.file:
            try:
                import faiss

                graph = faiss.read_index(str(self.folder / known.file))
            except (ImportError, RuntimeError):
                return None
            self._opened = (known.file, graph)
        return self._opened[1]

    def _load(self, db: sqlite3.Connection, fingerprint: str, above: int) -> None:
        if (fingerprint, above) == self._seen:
            return
        self._numbers, self._matrix = read_vectors(db, above)
        self._seen = (fingerprint, above)


def graph_facts(facts: Mapping[str, str]) -> GraphFacts | None:
    """What an index writes down of its graph; None for none."""
    return GraphFacts(*json.loads(facts["graph"])) if "graph" in facts else None


def _left(db: sqlite3.Connection, known: GraphFacts) -> int:
    """How many of a graph's passages are still there."""
    ask = "SELECT count(*) FROM passages WHERE number <= ?"
    return int(db.execute(ask, (known.top,)).fetchone()[0])


def read_vectors(db: sqlite3.Connection, above: int = 0) -> tuple[NDArray[np.int64], Vectors]:
    """Numbers (N,) ascending and vectors (N, H) of the passages that have one, above a number."""
    ask = "SELECT number, vector FROM passages WHERE number > ? AND vector NOT NULL ORDER BY number"
    rows = db.execute(ask, (above,)).fetchall()
    numbers = np.array([r[0] for r in rows], np.int64)
    flat = np.frombuffer(b"".join(r[1] for r in rows), "<f4").astype(np.float32)
    return numbers, flat.reshape(len(rows), -1) if rows else flat.reshape(0, 0)


def exact(
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


def _named(db: sqlite3.Connection, found: Sequence[tuple[int, float]]) -> Ranking:
    marks = ",".join("?" * len(found))
    ask = f"SELECT number, id FROM passages WHERE number IN ({marks})"
    ids = dict(db.execute(ask, [n for n, _ in found])) if found else {}
    return [(ids[n], score) for n, score in found]


def _scored(db: sqlite3.Connection, numbers: Sequence[int], vector: Vectors) -> Ranking:
    """Those of the numbers that are still there, with their exact inner products."""
    marks = ",".join("?" * len(numbers))
    ask = f"SELECT id, vector FROM passages WHERE number IN ({marks}) AND vector NOT NULL"
    rows = db.execute(ask, numbers).fetchall()
    if not rows:
        return []
    flat = np.frombuffer(b"".join(v for _, v in rows), "<f4").reshape(len(rows), -1)
    return [(i, float(s)) for (i, _), s in zip(rows, flat @ vector, strict=True)]
