"""Random weights, drawn once and shared, for intervals and comparisons.

All metrics are functions of summed statistics (see `metrics`), so that B replicates are one matrix
product. The same draws serve every technique of a comparison, which saves time and makes the
replicates of two techniques paired.

B replicates, G clusters, s statistics, R runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from luthier.records import SampleScore
from luthier.scoring.metrics import Floats

Clusters = npt.NDArray[np.int64]
_Weights = npt.NDArray[np.float32]

RESAMPLES = 10_000
_CHUNK_CELLS = 4_000_000
_CACHED_CELLS = 12_000_000
_MOST_CELLS = 200_000_000
_FEWEST_RESAMPLES = 2_000


def clusters_of(sample_scores: Sequence[SampleScore]) -> Clusters:
    """The cluster of each example: its group, or itself where it has none. (n,) of 0..G-1."""
    numbers: dict[tuple[bool, str | int], int] = {}
    found = [
        numbers.setdefault((False, row) if s.group is None else (True, s.group), len(numbers))
        for row, s in enumerate(sample_scores)
    ]
    return np.array(found, dtype=np.int64)


def sum_by_cluster(values: Floats, clusters: Clusters) -> Floats:
    """(n, s) to (G, s)."""
    sums = np.zeros((int(clusters.max()) + 1, values.shape[1]))
    np.add.at(sums, clusters, values)
    return sums


def bootstrap_sums(sums: Floats, *, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """(G, s) to (B, s): the sums of B draws of G clusters with replacement.

    Above 20,000 clusters there are fewer replicates (at least 2,000), to bound time and memory.
    """
    single = sums.astype(np.float32)
    parts = [weights @ single for weights in _weights(len(sums), resamples, seed)]
    return np.concatenate(parts).astype(np.float64)


def _weights(count: int, resamples: int, seed: int) -> Iterator[_Weights]:
    if count * resamples <= _CACHED_CELLS:
        yield _cached_weights(count, resamples, seed)
        return
    yield from _draw_weights(count, _affordable(count, resamples), seed)


@lru_cache(maxsize=2)
def _cached_weights(count: int, resamples: int, seed: int) -> _Weights:
    return np.concatenate(list(_draw_weights(count, resamples, seed)))


def _draw_weights(count: int, resamples: int, seed: int) -> Iterator[_Weights]:
    rng = np.random.default_rng([seed, count])
    for size in _chunks(count, resamples):
        drawn = rng.integers(0, count, size=(size, count))
        drawn += np.arange(size)[:, None] * count
        counts = np.bincount(drawn.ravel(), minlength=size * count)
        yield counts.reshape(size, count).astype(np.float32)


def _affordable(count: int, resamples: int) -> int:
    return min(resamples, max(_FEWEST_RESAMPLES, _MOST_CELLS // count))


def _chunks(count: int, resamples: int) -> Iterator[int]:
    size = max(1, _CHUNK_CELLS // count)
    for start in range(0, resamples, size):
        yield min(size, resamples - start)
