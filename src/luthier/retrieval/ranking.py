"""Rankings combined and made diverse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from luthier.retrieval.index_store import IndexReader, Ranking, Vectors
from luthier.retrieval.types import Mode, SearchSettings

FUSION = 60  # Cormack, Clarke and Büttcher 2009, section 2


def fuse_rankings(rankings: Sequence[Sequence[str]]) -> Ranking:
    """Reciprocal rank fusion: the sum of 1 / (60 + rank), ranks from 1; ties are sorted by id."""
    total: dict[str, float] = {}
    for ranking in rankings:
        for rank, passage_id in enumerate(ranking, 1):
            total[passage_id] = total.get(passage_id, 0.0) + 1 / (FUSION + rank)
    return sorted(total.items(), key=lambda pair: (-pair[1], pair[0]))


@dataclass(frozen=True, slots=True)
class Candidates:
    """What the two searches found for one question, with cosines and with BM25 values."""

    dense: Ranking
    lexical: Ranking

    def ranking(self, mode: Mode) -> Ranking:
        """The order of a mode of search."""
        if mode == "dense":
            return self.dense
        if mode == "lexical":
            return self.lexical
        return fuse_rankings([[i for i, _ in found] for found in (self.dense, self.lexical)])


def diversify(reader: IndexReader, ranking: Ranking, settings: SearchSettings) -> Ranking:
    """Maximal marginal relevance (Carbonell and Goldstein 1998, section 2).

    The order does not change where there are no vectors.
    """
    vectors = reader.vectors([i for i, _ in ranking])
    candidates = [pair for pair in ranking if pair[0] in vectors]
    if not candidates:
        return ranking
    scores = np.array([s for _, s in candidates])
    low, high = scores.min(), scores.max()
    relevance = (scores - low) / (high - low) if high > low else np.ones(len(candidates))
    matrix: Vectors = np.stack([vectors[i] for i, _ in candidates])
    similarity = np.zeros(len(candidates))  # to the most similar one that is chosen already
    chosen: Ranking = []
    available = np.ones(len(candidates), bool)
    while len(chosen) < min(settings.k, len(candidates)):
        gains = (1 - settings.diversity) * relevance - settings.diversity * similarity
        best = int(np.argmax(np.where(available, gains, -np.inf)))
        available[best] = False
        chosen.append(candidates[best])
        similarity = np.maximum(similarity, matrix @ matrix[best])
    return chosen
