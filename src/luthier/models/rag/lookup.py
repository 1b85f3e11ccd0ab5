"""Searching the index of a model with knowledge. A question is searched once and remembered."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from luthier.errors import ModelError
from luthier.models.adaptation import Knowledge
from luthier.safety.hosts import check_host

if TYPE_CHECKING:
    from luthier.models.rag.question_map import QuestionEmbedder
    from luthier.retrieval import Hit, Index

MOST_REMEMBERED = 50_000  # searches
MAPPED_CANDIDATES = 50  # hits that a query map orders anew
# Sharpness of p(z | x): about one unit of log-odds between neighbours of a usual result list.
TEMPERATURES = {"dense": 0.05, "lexical": 2.0, "hybrid": 0.002}


@dataclass(eq=False)
class CachedIndex:
    """An open index with the hits of past searches. `search_seconds` is the time of all searches
    that were not remembered."""

    index: Index
    hits: dict[tuple[object, ...], tuple[Hit, ...]] = field(default_factory=dict)
    search_seconds: float = 0.0

    @cached_property
    def embedder(self) -> QuestionEmbedder:
        """Embeds questions and passages as the index does."""
        from luthier.models.rag.question_map import QuestionEmbedder

        return QuestionEmbedder.of(self.index)


def cached_index(knowledge: Knowledge) -> CachedIndex:
    """The index behind the slot. ModelError where its content is not what it was at the fit."""
    return _open_cached(knowledge.index, knowledge.fingerprint)


@lru_cache(maxsize=8)
def _open_cached(where: str, fingerprint: str) -> CachedIndex:
    from luthier.retrieval import open_index

    check_host(
        where,
        found_in="the knowledge of this model",
        next_step=f"If you trust that server, name it: luthier ask --knowledge '{where}'",
    )
    index = open_index(where)
    if fingerprint and index.fingerprint != fingerprint:
        raise ModelError(
            f"the index {where} has changed since this model was fitted: its fingerprint was "
            f"{fingerprint[:12]}, now it is {index.fingerprint[:12]}",
            choices=("fit again", "ask with --knowledge FOLDER to read the documents as they are"),
            next_step="Measured figures hold for the documents of the fit only.",
        )
    return CachedIndex(index)


def search_knowledge(knowledge: Knowledge, questions: Sequence[str]) -> list[tuple[Hit, ...]]:
    """What the search finds for each question, best first."""
    cached = cached_index(knowledge)
    identity = knowledge.identity
    keys = [(*identity, q) for q in questions]
    new = list(dict.fromkeys(str(key[-1]) for key in keys if key not in cached.hits))
    if new:
        if len(cached.hits) + len(new) > MOST_REMEMBERED:
            cached.hits.clear()
            new = list(dict.fromkeys(questions))
        started = time.perf_counter()
        results = _search(cached, knowledge, new)
        cached.search_seconds += time.perf_counter() - started
        for question, hits in zip(new, results, strict=True):
            cached.hits[(*identity, question)] = tuple(hits)
    return [cached.hits[key] for key in keys]


def clear_cache(knowledge: Knowledge) -> None:
    """Forget past searches, so that the next one is timed as a first one."""
    cached_index(knowledge).hits.clear()


def passage_probabilities(knowledge: Knowledge, hits: Sequence[Hit]) -> tuple[float, ...]:
    """p(z | x): softmax over the scores of the hits (in a hybrid search what it orders by)
    divided by the temperature."""
    if not hits:
        return ()
    temperature = knowledge.temperature or TEMPERATURES[knowledge.search.mode]
    strength = [h.score if h.fused is None else h.fused for h in hits]
    scores = np.array(strength, dtype=np.float64) / temperature
    odds = np.exp(scores - scores.max())
    return tuple(float(p) for p in odds / odds.sum())


def _search(cached: CachedIndex, knowledge: Knowledge, questions: Sequence[str]) -> list[list[Hit]]:
    settings = knowledge.search
    if knowledge.query_map is None:
        return cached.index.search(questions, settings)
    from luthier.models.rag.question_map import reordered

    wide = replace(settings, k=max(settings.k, MAPPED_CANDIDATES))
    candidates = cached.index.search(questions, wide)
    query_map = knowledge.query_map.numpy()
    reranked = reordered(cached.embedder, query_map, questions, candidates)
    return [hits[: settings.k] for hits in reranked]
