"""An index, opened for search. Every search sees the last complete version."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from luthier.errors import UserError
from luthier.retrieval.embed import Embedder, check_same_embedder, open_embedder
from luthier.retrieval.embed.minilm import MiniLM
from luthier.retrieval.index_store import IndexReader, Ranking
from luthier.retrieval.ranking import diversify, fuse_rankings
from luthier.retrieval.stores import open_store
from luthier.retrieval.types import LEXICAL_ONLY, Hit, IndexFacts, Passage, SearchSettings


class Index:
    """Passages, their vectors and their words, in any store."""

    def __init__(self, address: str | Path, *, embedder: str | None = None) -> None:
        """Open the index in a folder or at an address.

        `embedder` replaces the index's own: the same model behind another address. UserError where
        there is no index, StorageError where it is newer, broken or out of reach.
        """
        self.store = open_store(address)
        self.address = self.store.address
        with self.store.reader() as reader:
            facts = reader.facts()
            if "fingerprint" not in facts:
                raise UserError(
                    f"The index in {self.address} was never finished",
                    next_step="Run the same luthier index again: it goes on.",
                )
            passages, files = reader.counts()
        self.fingerprint = facts["fingerprint"]
        self._settings = json.loads(facts["settings"])
        own_embedder = self._settings["embedder"]
        if own_embedder != LEXICAL_ONLY and not facts.get("embedder"):
            # Version 1 of the format knew MiniLM only.
            facts |= {"embedder": MiniLM.id, "dimension": str(MiniLM.dimension)}
        self._stored_facts, self._embedder_name = facts, embedder or own_embedder
        self.facts = IndexFacts(
            passages, files, facts.get("embedder") or LEXICAL_ONLY,
            int(facts["dimension"]) if facts.get("dimension") else None,
            self.store.name, self.store.bytes(),
        )  # fmt: skip

    @cached_property
    def embedder(self) -> Embedder:
        """The model that embeds questions; UserError where the passages need another one."""
        if self.facts.dimension is None:
            raise UserError(
                f"{self.address} holds no vectors", choices=("lexical",),
                next_step="Search it with mode lexical.",
            )  # fmt: skip
        embedder = open_embedder(self._embedder_name)
        if embedder is None:
            raise UserError(
                f"{self._embedder_name!r} embeds nothing", next_step="Search with mode lexical."
            )
        # The package that MiniLM ships in has one version: the name of the model is enough.
        if not embedder.id == self.facts.embedder == MiniLM.id:
            check_same_embedder(embedder, self._stored_facts, self.address)
        return embedder

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
        with self.store.reader() as reader:
            searches = []
            if vectors is not None:
                searches.append(reader.nearest(vectors, depth, settings.where))
            if settings.mode != "dense":
                searches.append(reader.matching(queries, depth, settings.where))
            rankings = searches[0] if len(searches) == 1 else [
                fuse_rankings([[i for i, _ in ranking] for ranking in of_query])
                for of_query in zip(*searches, strict=True)
            ]  # fmt: skip
            if settings.rerank is not None:
                rankings = self._rerank(reader, queries, rankings, settings)
            if settings.diversity:
                rankings = [diversify(reader, ranking, settings) for ranking in rankings]
            return [_hits(reader, ranking[: settings.k]) for ranking in rankings]

    def passages(self, ids: Sequence[str]) -> list[Passage]:
        """The passages of these ids, in that order. KeyError for an id that is not in the index."""
        with self.store.reader() as reader:
            return reader.passages(ids)

    def _rerank(
        self, reader: IndexReader, queries: Sequence[str], rankings: Sequence[Ranking],
        settings: SearchSettings,
    ) -> list[Ranking]:  # fmt: skip
        from luthier.retrieval.rerank import rerank_passages

        assert settings.rerank is not None
        depth = max(settings.k, settings.candidates)
        headers = bool(self._settings["headers"])
        reranked = []
        for query, ranking in zip(queries, rankings, strict=True):
            passages = reader.passages([i for i, _ in ranking[:depth]])
            reranked.append(rerank_passages(settings.rerank, query, passages, headers=headers))
        return reranked


def _hits(reader: IndexReader, ranking: Ranking) -> list[Hit]:
    passages = reader.passages([i for i, _ in ranking])
    return [Hit(p, s, n) for n, (p, (_, s)) in enumerate(zip(passages, ranking, strict=True), 1)]


def open_index(address: str | Path, *, embedder: str | None = None) -> Index:
    """Open an index. UserError where there is none, StorageError where it is newer."""
    return Index(address, embedder=embedder)
