"""From texts to vectors: embedders by name, and whether one matches the index it searches."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from luthier import registry
from luthier.errors import UserError, did_you_mean
from luthier.retrieval.index_store import Vectors
from luthier.retrieval.types import LEXICAL_ONLY, MINILM

CHOICES = (
    MINILM,
    LEXICAL_ONLY,
    "org/name or a folder (sentence-transformers)",
    "http://HOST/v1#MODEL",
)
PROBE = "The quick brown fox jumps over the lazy dog."
SAME = 0.999  # cosine of the probe's vectors: other rounding or runtimes stay far above it


class Embedder(Protocol):
    """A model that turns texts into vectors of length 1."""

    @property
    def id(self) -> str:
        """The name of the model."""

    @property
    def dimension(self) -> int:
        """The length of a vector."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        """The vectors of passages, (N, H) float32."""

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """The vectors of questions, (N, H) float32; some models read them differently."""


def open_embedder(name: str) -> Embedder | None:
    """The embedder of this name, as in `IndexSettings`; None for an index of words only.

    Nothing is loaded or contacted yet. UserError for an unknown name.
    """
    if name == LEXICAL_ONLY:
        return None
    found = registry.addressed("embedders", name)
    if found is None and ("/" in name or Path(name).is_dir()):
        found = "sentence-transformers"
    if found is None:
        plugins = registry.plugin_names("embedders")
        raise UserError(
            f"No embedder {name!r}",
            choices=(*CHOICES, *plugins),
            next_step=did_you_mean(name, (MINILM, "none", *plugins)),
        )
    embedder: Embedder = registry.get("embedders", found)(name)
    return embedder


def embedder_facts(embedder: Embedder | None) -> dict[str, str]:
    """What an index records about its embedder: name, dimension, and the vector of a sentence."""
    if embedder is None:
        return {"embedder": LEXICAL_ONLY, "dimension": "", "probe": ""}
    probe = embedder.embed([PROBE])[0].astype("<f4")
    return {
        "embedder": embedder.id,
        "dimension": str(len(probe)),
        "probe": base64.b64encode(probe.tobytes()).decode(),
    }


def check_same_embedder(embedder: Embedder, facts: Mapping[str, str], where: str) -> None:
    """UserError where the embedder's vectors cannot be compared with those of the index."""
    made_by, dimension = facts["embedder"], int(facts["dimension"])
    if embedder.dimension != dimension:
        raise UserError(
            f"The index in {where} holds vectors of {made_by} with {dimension} numbers each; "
            f"{embedder.id} gives {embedder.dimension}",
            next_step=f"Search with {made_by}, or build the index again in another place.",
        )
    if not facts.get("probe"):  # an index from before probes were recorded
        same = embedder.id == made_by
    else:
        recorded = np.frombuffer(base64.b64decode(facts["probe"]), "<f4")
        same = float(recorded @ embedder.embed([PROBE])[0]) >= SAME
    if not same:
        raise UserError(
            f"The index in {where} was made by {made_by}, and {embedder.id} gives other vectors: "
            "their neighbours would mean nothing",
            next_step="Search with the model it was made with, or build the index again.",
        )
