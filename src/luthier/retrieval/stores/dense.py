"""Nearest vectors of an index in a folder: exactly, from a matrix read once a version."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from luthier.retrieval.store import Vectors

Numbered = list[tuple[int, float]]


class Dense:
    """The vectors of the version that was read last."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seen: str | None = None
        self._numbers: NDArray[np.int64] = np.zeros(0, np.int64)
        self._matrix: Vectors = np.zeros((0, 0), np.float32)

    def nearest(
        self, db: sqlite3.Connection, facts: Mapping[str, str], vectors: Vectors, k: int,
        among: Sequence[int] | None,
    ) -> list[Numbered]:  # fmt: skip
        """Numbers of passages and inner products for each vector, among some or among all."""
        self._load(db, facts["fingerprint"])
        numbers, matrix = self._numbers, self._matrix
        if among is not None:
            chosen = np.isin(numbers, np.asarray(among, np.int64))
            numbers, matrix = numbers[chosen], matrix[chosen]
        return [exact(numbers, matrix, v, k) for v in vectors]

    def follow(self, db: sqlite3.Connection) -> None:
        """After a publication."""

    def bytes(self) -> int:
        """Beside the database."""
        return 0

    def _load(self, db: sqlite3.Connection, fingerprint: str) -> None:
        if fingerprint == self._seen:
            return
        self._numbers, self._matrix = read_vectors(db)
        self._seen = fingerprint


def read_vectors(db: sqlite3.Connection, more: str = "") -> tuple[NDArray[np.int64], Vectors]:
    """Numbers (N,) ascending and vectors (N, H) of all passages that have one."""
    ask = f"SELECT number, vector FROM passages WHERE vector NOT NULL{more} ORDER BY number"
    rows = db.execute(ask).fetchall()
    numbers = np.array([r[0] for r in rows], np.int64)
    flat = np.frombuffer(b"".join(r[1] for r in rows), "<f4").astype(np.float32)
    return numbers, flat.reshape(len(rows), -1) if rows else flat.reshape(0, 0)


def exact(numbers: NDArray[np.int64], matrix: Vectors, vector: Vectors, k: int) -> Numbered:
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
