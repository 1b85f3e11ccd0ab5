"""Near-duplicates among many texts, in time and memory that grow with their number alone.

Each text has a signature of minima under 320 fixed hash functions, cut into 40 bands of 8 (Broder
1997, "On the resemblance and containment of documents"; bands as in Indyk and Motwani 1998). Two
texts with Jaccard index J share a band with probability 1 - (1 - J^8)^40: 0.9994 at 0.8, where
"nearly the same" begins, and 0.0001 at 0.2, where unrelated texts end. Whatever shares a band is
then compared exactly, so that nothing is found that is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from luthier.task.near_duplicates import (
    NEAR_LONG,
    NEAR_SHORT,
    Body,
    NearIndex,
    Shingles,
    jaccard,
)

BANDS, ROWS = 40, 8
EXACT_UP_TO = 500  # texts; that many are compared by `NearIndex`, which misses nothing
REMEMBERED = 4096  # bodies


class NearTexts:
    """Finds the texts that are nearly a given one. `body(n)` is what is text n's own."""

    def __init__(self, count: int, body: Callable[[int], Body | None]) -> None:
        self._body = lru_cache(maxsize=REMEMBERED)(body)
        self._exact = NearIndex([body(n) for n in range(count)]) if count <= EXACT_UP_TO else None
        if self._exact is not None:
            return
        keys = np.zeros((BANDS, count), np.uint32)
        self._kinds = np.zeros(count, np.int8)  # 0: none, 1: by characters, 2: by words
        for number in range(count):
            found = body(number)
            if found is not None:
                keys[:, number] = _band_keys(found.characters if found.is_short else found.words)
                self._kinds[number] = 1 if found.is_short else 2
        self._order = np.argsort(keys, axis=1, kind="stable").astype(np.int32)
        self._sorted = np.take_along_axis(keys, self._order, axis=1)

    def find(self, body: Body) -> dict[int, float]:
        """The Jaccard index of each text that is nearly this one, by its number."""
        if self._exact is not None:
            return self._exact.find(body)
        return self._alike(body.characters, 1, NEAR_SHORT) | self._alike(body.words, 2, NEAR_LONG)

    def _alike(self, own: Shingles, kind: int, threshold: float) -> dict[int, float]:
        if not own:
            return {}
        candidates: set[int] = set()
        for band, key in enumerate(_band_keys(own)):
            row = self._sorted[band]
            start, end = np.searchsorted(row, key, "left"), np.searchsorted(row, key, "right")
            candidates.update(self._order[band, start:end].tolist())
        scores = {}
        for number in candidates:
            other = self._body(number) if self._kinds[number] == kind else None
            if other is not None:
                score = jaccard(own, other.characters if kind == 1 else other.words)
                if score >= threshold:
                    scores[number] = score
        return scores


@lru_cache(maxsize=1)
def _functions() -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The factors and the summands of the hash functions: the same in every process."""
    drawn = np.random.default_rng(20240521).integers(0, 2**63, (2, BANDS * ROWS), np.uint64)
    return drawn[0] * np.uint64(2) + np.uint64(1), drawn[1]


def _band_keys(shingles: Sequence[int] | Shingles) -> NDArray[np.uint32]:
    """A number for each band of the signature."""
    factors, summands = _functions()
    values = np.fromiter(shingles, np.uint64, len(shingles))
    if not len(values):
        return np.zeros(BANDS, np.uint32)
    with np.errstate(over="ignore"):
        hashed = factors[:, None] * values[None, :] + summands[:, None]
        minima = (hashed >> np.uint64(17)).min(axis=1).reshape(BANDS, ROWS)
        mixed = np.zeros(BANDS, np.uint64)
        for row in range(ROWS):
            mixed = (mixed ^ minima[:, row]) * np.uint64(0x9E3779B97F4A7C15)
            mixed ^= mixed >> np.uint64(29)
    return (mixed >> np.uint64(32)).astype(np.uint32)
