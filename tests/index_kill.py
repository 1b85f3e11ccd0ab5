"""A process that indexes and says where it is, so that a test can kill it: `DOCS INTO`.

Its embedder counts letters, and its graph begins at few passages, so that every phase is short.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

from luthier.retrieval import IndexProgress, build_index, indexing
from luthier.retrieval.index_store import Vectors

WIDTH = 26


class Letters:
    """Vectors of letter counts."""

    id = "letters"
    dimension = WIDTH

    def embed(self, texts: Sequence[str]) -> Vectors:
        """(N, 26)."""
        counts = [[1 + t.count(chr(97 + i)) for i in range(WIDTH)] for t in texts]
        made = np.array(counts, np.float32)
        return made / np.linalg.norm(made, axis=1, keepdims=True)

    embed_queries = embed


class PrintsProgress:
    """Prints on stdout what was done."""

    def progressed(self, progress: IndexProgress) -> None:
        """One line an event."""
        print(progress.phase, progress.files_done, flush=True)


def main(docs: str, into: str) -> None:
    """Index to the end."""
    from luthier.retrieval.stores import dense

    dense.GRAPH_FROM = 50
    indexing.open_embedder = lambda _: Letters()
    build_index([docs], into, listener=PrintsProgress())
    print("done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
