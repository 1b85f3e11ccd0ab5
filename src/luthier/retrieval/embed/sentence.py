"""Any sentence-transformers model, by name or folder. Needs `pip install luthier[embedders]`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from luthier.errors import ModelError, from_extra
from luthier.retrieval.index_store import Vectors


@dataclass(eq=False)
class SentenceEmbedder:
    """Embeds passages by `encode_document`, questions by `encode_query`; both may add prompts."""

    id: str

    @property
    def model(self) -> Any:
        """The model, loaded at first use. ModelError where the library or the model is missing."""
        return _load(self.id)

    @property
    def dimension(self) -> int:
        """The length of a vector."""
        return int(self.model.get_embedding_dimension())

    def embed(self, texts: Sequence[str]) -> Vectors:
        """(N, H), of length 1."""
        return self._encode(self.model.encode_document, texts)

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """(N, H), of length 1."""
        return self._encode(self.model.encode_query, texts)

    def _encode(self, encode: Any, texts: Sequence[str]) -> Vectors:
        if not texts:
            return np.zeros((0, self.dimension), np.float32)
        vectors = encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(vectors, np.float32)


@lru_cache(maxsize=2)
def _load(name: str) -> Any:
    with from_extra(
        "embedders",
        f"The embedder {name} needs sentence-transformers, which is not installed",
        kind=ModelError,
    ):
        from sentence_transformers import SentenceTransformer
    try:
        return SentenceTransformer(name, device="cpu", trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"No sentence-transformers model {name}: {str(error).splitlines()[0]}",
            next_step="Give a folder that holds one, or a name on a hub that can be reached.",
        ) from error
