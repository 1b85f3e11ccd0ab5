"""Embeddings from any server that speaks the OpenAI API: POST /embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from luthier.errors import BackendError, ModelError
from luthier.redaction import plain_address
from luthier.retrieval.index_store import Vectors
from luthier.safety.guarded_client import luthier_error, open_guarded_client

BATCH = 64


@dataclass(eq=False)
class EndpointEmbedder:
    """One model on one server. The key comes from LUTHIER_API_KEY or OPENAI_API_KEY."""

    url: str
    model: str
    client: Any

    @classmethod
    def connect(cls, address: str) -> EndpointEmbedder:
        """Open "http://host:port/v1#model". ModelError where no model is named."""
        url, _, model = address.partition("#")
        if not model:
            raise ModelError(
                f"{url} may serve many models, and none was named",
                next_step=f"Name one after a #: {url}#model",
            )
        client = open_guarded_client(url)
        return cls(plain_address(url), model, client)

    @property
    def id(self) -> str:
        """The address and the model, as they were given."""
        return f"{self.url}#{self.model}"

    @cached_property
    def dimension(self) -> int:
        """The length of a vector; the server is asked once."""
        return int(self.embed(["dimension"]).shape[1])

    def embed(self, texts: Sequence[str]) -> Vectors:
        """(N, H), scaled to length 1. BackendError where the server fails or answers nonsense."""
        parts = [self._batch(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)]
        return np.concatenate(parts) if parts else np.zeros((0, self.dimension), np.float32)

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """The same as `embed`: the API does not distinguish questions."""
        return self.embed(texts)

    def _batch(self, texts: Sequence[str]) -> Vectors:
        import openai

        # An empty text is refused by some servers.
        nonempty = [t if t.strip() else "-" for t in texts]
        try:
            reply = self.client.embeddings.create(
                model=self.model, input=nonempty, encoding_format="float"
            )
            rows = sorted(reply.data, key=lambda row: row.index)
            vectors = np.array([row.embedding for row in rows], np.float32)
        except openai.OpenAIError as error:
            raise luthier_error(error) or BackendError(
                f"{self.url} gave no embeddings by {self.model}: {error}",
                next_step="Check that the server runs and serves that model, then run it again.",
            ) from error
        except (AttributeError, TypeError, ValueError, RecursionError, OverflowError) as error:
            raise BackendError(f"{self.url} answered something else than embeddings") from error
        lengths = np.linalg.norm(vectors, axis=-1, keepdims=True) if vectors.ndim == 2 else vectors
        if (
            vectors.ndim != 2
            or len(vectors) != len(texts)
            or not ((lengths > 0) & (lengths < np.inf)).all()
        ):
            raise BackendError(
                f"{self.url} answered {vectors.shape} numbers for {len(texts)} texts: no embeddings"
            )
        return np.asarray(vectors / lengths, np.float32)
