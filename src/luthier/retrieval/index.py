"""An index, opened to be searched. Every search sees the last complete version."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from luthier.errors import UserError
from luthier.retrieval import catalogue
from luthier.retrieval.catalogue import Vectors
from luthier.retrieval.embed.minilm import MiniLM
from luthier.retrieval.records import LEXICAL_ONLY, Hit, IndexFacts, Passage, SearchSettings

FUSION = 60  # Cormack, Clarke and Büttcher 2009, section 2
COLUMNS = "id, source, text, place"


class Index:
    """Passages, their vectors and their words. Dense search is exact."""

    def __init__(self, folder: Path) -> None:
        """UserError when there is none, StorageError when it is newer or broken."""
        self.folder = folder
        self._seen = ""
        self._numbers = np.zeros(0, np.int64)
        self._matrix: Vectors = np.zeros((0, 0), np.float32)
        with catalogue.opened(folder) as db:
            found = catalogue.facts(db)
            if "fingerprint" not in found:
                raise UserError(
                    f"The index in {folder} was never finished",
                    next_step="Run the same luthier index again: it goes on.",
                )
            self.fingerprint = found["fingerprint"]
            dense = json.loads(found["settings"])["embedder"] != LEXICAL_ONLY
            counts = [
                db.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in ("passages", "files")
            ]
        self.facts = IndexFacts(
            counts[0], counts[1], MiniLM.id if dense else LEXICAL_ONLY,
            MiniLM.dimension if dense else None, "exact",
            sum(p.stat().st_size for p in folder.glob(f"{catalogue.FILE}*")),
        )  # fmt: skip

    def search(
        self, queries: Sequence[str], settings: SearchSettings | None = None
    ) -> list[list[Hit]]:
        """The best passages for each query, best first.

        UserError for dense search in an index without vectors.
        """
        settings = settings or SearchSettings()
        if settings.rerank is not None:
            raise UserError("Reranking is not built yet", next_step="Leave `rerank` out.")
        vectors: Vectors | None = None
        if settings.mode != "lexical" and queries:
            if self.facts.dimension is None:
                raise UserError(
                    f"{self.folder} holds no vectors", choices=("lexical",),
                    next_step="Search it with mode lexical.",
                )  # fmt: skip
            vectors = MiniLM().embed(queries)
        with catalogue.opened(self.folder) as db:
            db.execute("BEGIN")
            if vectors is not None:
                self._load(db)
            allowed = self._allowed(db, settings)
            return [
                self._one(db, q, None if vectors is None else vectors[i], settings, allowed)
                for i, q in enumerate(queries)
            ]

    def passages(self, ids: Sequence[str]) -> list[Passage]:
        """By id, in the order asked. KeyError for an id that is not here."""
        out = []
        with catalogue.opened(self.folder) as db:
            for i in ids:
                row = db.execute(f"SELECT {COLUMNS} FROM passages WHERE id = ?", (i,)).fetchone()
                if row is None:
                    raise KeyError(i)
                out.append(catalogue.as_passage(row))
        return out

    def _load(self, db: sqlite3.Connection) -> None:
        now = catalogue.facts(db)["fingerprint"]
        if now == self._seen:
            return
        rows = db.execute("SELECT number, vector FROM passages WHERE vector NOT NULL").fetchall()
        self._numbers = np.array([r[0] for r in rows], np.int64)
        flat = np.frombuffer(b"".join(r[1] for r in rows), "<f4").astype(np.float32)
        self._matrix = flat.reshape(len(rows), -1) if rows else flat.reshape(0, MiniLM.dimension)
        self._seen = now

    def _allowed(self, db: sqlite3.Connection, settings: SearchSettings) -> set[int] | None:
        if not settings.where:
            return None
        found = set()
        for number, source, place in db.execute("SELECT number, source, place FROM passages"):
            labels = {**json.loads(place)[4], "source": source}
            if all(labels.get(k) == v for k, v in settings.where):
                found.add(number)
        return found

    def _one(
        self, db: sqlite3.Connection, query: str, vector: Vectors | None,
        settings: SearchSettings, allowed: set[int] | None,
    ) -> list[Hit]:  # fmt: skip
        depth = max(settings.k, settings.candidates)
        lists: list[list[tuple[int, float]]] = []
        if vector is not None:
            scores = self._matrix @ vector
            order = np.argsort(-scores, kind="stable")
            lists.append([(int(self._numbers[i]), float(scores[i])) for i in order])
        if settings.mode != "dense":
            lists.append(catalogue.lexical(db, query, -1 if allowed is not None else depth))
        if allowed is not None:
            lists = [[pair for pair in one if pair[0] in allowed] for one in lists]
        lists = [one[:depth] for one in lists]
        best = lists[0] if len(lists) == 1 else fused([[n for n, _ in one] for one in lists])
        if settings.diversity and self._matrix.size:
            best = self._varied(best, settings)
        hits = []
        for rank, (number, score) in enumerate(best[: settings.k], 1):
            ask = f"SELECT {COLUMNS} FROM passages WHERE number = ?"
            row = db.execute(ask, (number,)).fetchone()
            hits.append(Hit(catalogue.as_passage(row), score, rank))
        return hits

    def _varied(
        self, best: list[tuple[int, float]], settings: SearchSettings
    ) -> list[tuple[int, float]]:
        """Maximal marginal relevance (Carbonell and Goldstein 1998, section 2)."""
        at = {int(n): i for i, n in enumerate(self._numbers)}
        left = [pair for pair in best if pair[0] in at]
        top = max((s for _, s in left), default=1.0) or 1.0
        taken: list[tuple[int, float]] = []
        while left and len(taken) < settings.k:
            near = [
                max((float(self._matrix[at[n]] @ self._matrix[at[t]]) for t, _ in taken), default=0)
                for n, _ in left
            ]
            gains = [
                (1 - settings.diversity) * s / top - settings.diversity * c
                for (_, s), c in zip(left, near, strict=True)
            ]
            taken.append(left.pop(int(np.argmax(gains))))
        return taken


def fused(rankings: Sequence[Sequence[int]]) -> list[tuple[int, float]]:
    """Reciprocal rank fusion: the sum of 1 / (60 + rank), ranks from 1."""
    total: dict[int, float] = {}
    for ranking in rankings:
        for rank, number in enumerate(ranking, 1):
            total[number] = total.get(number, 0.0) + 1 / (FUSION + rank)
    return sorted(total.items(), key=lambda pair: (-pair[1], pair[0]))


def open_index(where: str | Path) -> Index:
    """Open an index. UserError when there is none, StorageError when it is newer."""
    return Index(Path(where))
