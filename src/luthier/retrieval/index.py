"""An index, opened to be searched."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from luthier.errors import StorageError
from luthier.retrieval.embed.minilm import MiniLM
from luthier.retrieval.records import Hit, IndexFacts, Passage, SearchSettings


class Index:
    """Passages and their vectors."""

    def __init__(self, folder: Path) -> None:
        text = (folder / "index.json").read_text("utf-8")
        held = json.loads(text)
        self.folder = folder
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()
        rows = held["rows"]
        self._vectors = np.array([r.pop("vector") for r in rows], np.float32)
        self._all = [Passage(**{**r, "headings": tuple(r["headings"])}) for r in rows]
        self._words = [Counter(re.findall(r"\w+", p.text.lower())) for p in self._all]
        self.facts = IndexFacts(
            len(rows), held["files"], MiniLM.id, MiniLM.dimension, "exact", len(text)
        )

    def search(
        self, queries: Sequence[str], settings: SearchSettings | None = None
    ) -> list[list[Hit]]:
        """The best passages for each query, best first."""
        settings = settings or SearchSettings()
        dense = MiniLM().embed(queries) @ self._vectors.T
        return [self._one(q, d, settings) for q, d in zip(queries, dense, strict=True)]

    def passages(self, ids: Sequence[str]) -> list[Passage]:
        """By id, in the order asked. KeyError for an id that is not here."""
        known = {p.id: p for p in self._all}
        return [known[i] for i in ids]

    def _one(self, query: str, dense: np.ndarray, settings: SearchSettings) -> list[Hit]:
        lexical = np.array([self._bm25(query, w) for w in self._words])
        if settings.mode == "dense":
            scores = dense
        elif settings.mode == "lexical":
            scores = lexical
        else:
            ranks = [np.argsort(np.argsort(-s, kind="stable")) for s in (dense, lexical)]
            scores = sum(1 / (60 + 1 + r) for r in ranks)
        best = np.argsort(-scores, kind="stable")[: settings.k]
        return [Hit(self._all[i], float(scores[i]), n + 1) for n, i in enumerate(best)]

    def _bm25(self, query: str, words: Counter[str]) -> float:
        total = 0.0
        for word in set(re.findall(r"\w+", query.lower())):
            if words[word]:
                seen = sum(word in w for w in self._words)
                total += math.log(1 + len(self._words) / seen) * words[word] / (words[word] + 1.5)
        return total


def open_index(where: str | Path) -> Index:
    """Open an index. StorageError when there is none."""
    folder = Path(where)
    if not (folder / "index.json").is_file():
        raise StorageError(
            f"No index in {folder}", next_step=f"Make one: luthier index docs/ --into {folder}"
        )
    return Index(folder)
