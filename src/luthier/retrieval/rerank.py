"""Passages reordered by a cross-encoder, which reads question and passage together."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from luthier.errors import ModelError, from_extra
from luthier.retrieval.index_store import Ranking
from luthier.retrieval.types import Passage


def rerank_passages(
    name: str, query: str, passages: Sequence[Passage], *, headers: bool
) -> Ranking:
    """The passages by the cross-encoder's score, best first; equal ones keep their order.

    `name` is the cross-encoder, `headers` puts the headings before each passage. ModelError where
    the library or the model is missing.
    """
    if not passages:
        return []
    texts = [f"{p.header}\n{p.text}" if headers and p.header else p.text for p in passages]
    scores = _load(name).predict([(query, t) for t in texts], show_progress_bar=False)
    pairs = [(p.id, float(s)) for p, s in zip(passages, scores, strict=True)]
    return sorted(pairs, key=lambda pair: -pair[1])


@lru_cache(maxsize=2)
def _load(name: str) -> Any:
    with from_extra(
        "embedders",
        "Reranking needs sentence-transformers, which is not installed",
        kind=ModelError,
    ):
        from sentence_transformers import CrossEncoder
    try:
        return CrossEncoder(name, device="cpu", num_labels=1, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"No cross-encoder {name}: {str(error).splitlines()[0]}",
            next_step="Give a folder that holds one, or a name on a hub that can be reached.",
        ) from error
