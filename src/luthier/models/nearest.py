"""Demonstrations nearest to an input, by TF-IDF cosine over words and character trigrams."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from luthier.models.prompt import Demonstration

ROWS_AT_ONCE = 1024  # inputs compared with the whole pool at a time, to bound memory
MOST_RANKED = 64  # neighbours that are remembered for an input


class NearestDemonstrations:
    """An index over a pool of demonstrations; built once for a pool, searched once for inputs."""

    def __init__(self, pool: tuple[Demonstration, ...]) -> None:
        self.pool = pool

    def nearest(
        self, inputs: Sequence[str], shots: int, *, leave_self_out: bool = False
    ) -> list[tuple[Demonstration, ...]]:
        """For each input the `shots` nearest of the pool, the nearest last (arXiv:2101.06804)."""
        chosen = []
        ranked = _ranked(self.pool, tuple(inputs), max(shots + 1, MOST_RANKED))
        for text, row in zip(inputs, ranked, strict=True):
            order = [self.pool[i] for i in row[: shots + 1]]
            if leave_self_out:
                order = [d for d in order if d.input != text]
            chosen.append(tuple(reversed(order[:shots])))
        return chosen


@lru_cache(maxsize=64)
def _ranked(
    pool: tuple[Demonstration, ...], inputs: tuple[str, ...], count: int
) -> tuple[tuple[int, ...], ...]:
    """For each input the places in the pool of its `count` nearest, the nearest first."""
    import numpy as np

    vectoriser, matrix = _index(pool)
    rows: list[tuple[int, ...]] = []
    for start in range(0, len(inputs), ROWS_AT_ONCE):
        vectors = vectoriser.transform(list(inputs[start : start + ROWS_AT_ONCE]))
        for row in (vectors @ matrix.T).toarray():
            rows.append(tuple(int(i) for i in np.argsort(-row, kind="stable")[:count]))
    return tuple(rows)


@lru_cache(maxsize=4)
def _index(pool: tuple[Demonstration, ...]) -> tuple[Any, Any]:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_union

    texts = [d.input for d in pool]
    views = [TfidfVectorizer(sublinear_tf=True, analyzer="char_wb", ngram_range=(3, 4))]
    if any(re.search(r"\w", text) for text in texts):  # a pool of signs alone has no vocabulary
        views.insert(0, TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\b\w+\b"))
    vectoriser = make_union(*views)
    return vectoriser, vectoriser.fit_transform(texts)
