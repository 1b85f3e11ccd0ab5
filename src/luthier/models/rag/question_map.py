"""A linear map of question embeddings: the retriever adapted, the documents left as they are.

q M takes the place of q in the cosine with a passage's vector d. The best candidates of the search
are ordered by it, fused with their rank in the search by reciprocal rank (Cormack et al. 2009): so
it works over every store and every search mode, and no vector of the index is made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from luthier.errors import TechniqueError

if TYPE_CHECKING:
    from luthier.retrieval import Hit, Index, Passage

Vectors = npt.NDArray[np.float32]
FUSION = 60  # of reciprocal ranks


@dataclass(eq=False)
class QuestionEmbedder:
    """Embeds as an index does: unit vectors (N, H). Vectors of passages are remembered by id.

    `embed` reads questions; passages too, unless `embed_passages` does.
    """

    embed: Callable[[Sequence[str]], Vectors]
    embed_passages: Callable[[Sequence[str]], Vectors] | None = None
    known: dict[str, Vectors] = field(default_factory=dict)

    @classmethod
    def of(cls, index: Index) -> QuestionEmbedder:
        """TechniqueError for an index that has no embeddings."""
        if index.facts.dimension is None:
            raise TechniqueError(
                f"a query map needs an index with vectors, and {index.address} holds words only",
                next_step="Index the documents with an embedder.",
            )
        return cls(index.embedder.embed_queries, index.embedder.embed)

    def passages(self, passages: Sequence[Passage]) -> Vectors:
        """(N, H), headings included as when they were indexed."""
        new = list({p.id: p for p in passages if p.id not in self.known}.values())
        if new:
            texts = [f"{p.header}\n{p.text}" if p.header else p.text for p in new]
            made = (self.embed_passages or self.embed)(texts)
            for passage, vector in zip(new, made, strict=True):
                self.known[passage.id] = vector
        return np.stack([self.known[p.id] for p in passages])


def reordered(
    embedder: QuestionEmbedder,
    query_map: Vectors,
    questions: Sequence[str],
    candidates: Sequence[Sequence[Hit]],
) -> list[list[Hit]]:
    """The hits of each question in the order of the fused rank, which they keep as `fused`."""
    if not any(candidates):
        return [list(hits) for hits in candidates]
    mapped = embedder.embed(questions) @ query_map
    out: list[list[Hit]] = []
    for query, hits in zip(mapped, candidates, strict=True):
        if not hits:
            out.append([])
            continue
        near = embedder.passages([h.passage for h in hits]) @ query
        place = np.argsort(np.argsort(-near, kind="stable"), kind="stable")
        scores = [
            1 / (FUSION + h.rank) + 1 / (FUSION + 1 + int(p))
            for h, p in zip(hits, place, strict=True)
        ]
        order = sorted(range(len(hits)), key=lambda i: -scores[i])
        out.append([replace(hits[i], rank=n, fused=scores[i]) for n, i in enumerate(order, 1)])
    return out
