"""The contract of an embedder: vectors of length 1 that depend on their text alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from luthier.retrieval.embed import Embedder, check_same_embedder, embedder_facts
from luthier.retrieval.index_store import Vectors
from luthier.testing.expectations import expect, expect_close, expect_equal

TEXTS = (
    "The kettle whistles at noon.",
    "Gifts go back in 30 days.",
    "Shop > Refunds\nA refund is paid within ten days of the return, to the card that was used.",
    "Brücken in Zürich",
)


def check_embedder(embedder: Embedder, *, texts: Sequence[str] = TEXTS) -> None:
    """Hold an embedder to its contract on some texts, each of which must have a vector."""
    expect(embedder.id, "an embedder must have an id")
    passages = embedder.embed(texts)
    _check_vectors(passages, len(texts), embedder.dimension)
    _check_vectors(embedder.embed_queries(texts), len(texts), embedder.dimension)
    for place, text in enumerate(texts):
        alone = embedder.embed([text])[0]
        expect_close(alone, passages[place], "a vector depends on the other texts")
    turned = embedder.embed(list(texts)[::-1])[::-1]
    expect_close(turned.ravel(), passages.ravel(), "vectors must come in the order of the texts")
    expect_equal(embedder.embed([]).shape, (0, embedder.dimension), "no texts, no vectors")
    nearest = (embedder.embed_queries(texts) @ passages.T).argmax(axis=1)
    expect_equal(nearest.tolist(), list(range(len(texts))), "a text must be nearest to itself")
    check_same_embedder(embedder, embedder_facts(embedder), "the index of this test")


def _check_vectors(vectors: Vectors, count: int, dimension: int) -> None:
    expect_equal(vectors.shape, (count, dimension), "vectors must be (texts, dimension)")
    expect_equal(vectors.dtype, np.dtype(np.float32), "vectors must be float32")
    expect(np.isfinite(vectors).all(), "vectors must be finite")
    lengths = np.linalg.norm(vectors, axis=1)
    expect_close(lengths, np.ones(count), "vectors must be of length 1")
