"""An index, opened for search. Every search sees the last complete version."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from luthier.errors import UserError
from luthier.retrieval.embed import Embedder, check_same_embedder, open_embedder
from luthier.retrieval.embed.minilm import MiniLM
from luthier.retrieval.index_store import IndexReader, Ranking, Vectors, damaged_index
from luthier.retrieval.ranking import Candidates, diversify
from luthier.retrieval.stores import open_store
from luthier.retrieval.types import LEXICAL_ONLY, Hit, IndexFacts, Passage, SearchSettings
from luthier.safety.hosts import check_host, name_host


class Index:
    """Passages, their vectors and their words, in any store."""

    def __init__(self, address: str | Path, *, embedder: str | None = None) -> None:
        """Open the index in a folder or at an address.

        `embedder` replaces the index's own: the same model behind another address. UserError where
        there is no index, StorageError where it is newer, broken or out of reach.
        """
        self.store = open_store(address)
        self.address = self.store.address
        with damaged_index(self.address):
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
            if embedder is not None:
                name_host(embedder)
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
        check_host(
            self._embedder_name,
            found_in=f"The index in {self.address}",
            next_step=f"If you trust that server, name it: --embedder '{self._embedder_name}'",
        )
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
        with damaged_index(self.address), self.store.reader() as reader:
            none: list[Ranking] = [[] for _ in queries]
            dense, lexical = none, none
            if vectors is not None:
                dense = reader.nearest(vectors, depth, settings.where)
            if settings.mode != "dense":
                lexical = reader.matching(queries, depth, settings.where)
            found = [Candidates(*both) for both in zip(dense, lexical, strict=True)]
            rankings = [candidates.ranking(settings.mode) for candidates in found]
            if settings.rerank is not None:
                rankings = self._rerank(reader, queries, rankings, settings)
            if settings.diversity:
                rankings = [diversify(reader, ranking, settings) for ranking in rankings]
            rows = [None] * len(queries) if vectors is None else list(vectors)
            return [
                _hits(reader, ranking[: settings.k], candidates, vector, settings)
                for ranking, candidates, vector in zip(rankings, found, rows, strict=True)
            ]

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


def _hits(
    reader: IndexReader, ranking: Ranking, candidates: Candidates, vector: Vectors | None,
    settings: SearchSettings,
) -> list[Hit]:  # fmt: skip
    ids = [i for i, _ in ranking]
    cosines = dict(candidates.dense)
    missing = [i for i in ids if i not in cosines]
    if vector is not None and missing:  # found by its words only
        cosines |= {i: float(v @ vector) for i, v in reader.vectors(missing).items()}
    bm25, fused = dict(candidates.lexical), {}
    if settings.mode == "hybrid":
        fused = dict(candidates.ranking("hybrid"))
    hits = []
    for rank, (passage, (i, score)) in enumerate(
        zip(reader.passages(ids), ranking, strict=True), 1
    ):
        cosine = cosines.get(i)
        if settings.rerank is None and settings.mode == "hybrid" and cosine is not None:
            score = cosine
        hits.append(Hit(passage, score, rank, cosine, bm25.get(i), fused.get(i)))
    return hits


def open_index(address: str | Path, *, embedder: str | None = None) -> Index:
    """Open an index. UserError where there is none, StorageError where it is newer.

    An address that is given here is one that the caller trusts (`luthier.safety.hosts`).
    """
    name_host(str(address))
    return Index(address, embedder=embedder)
