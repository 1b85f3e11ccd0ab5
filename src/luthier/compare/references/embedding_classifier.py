"""A sentence embedding and logistic regression: a small encoder that is not trained."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from luthier.compare.references.plain_reference import FittedReference, PlainReference, whole_text
from luthier.records import FitRecord
from luthier.retrieval.types import MINILM
from luthier.training.linear_classifier import fit_linear

if TYPE_CHECKING:
    from luthier.retrieval.embed import Embedder
    from luthier.task.task import Task


class EmbeddingClassifier(PlainReference):
    """Reads the vector of a text."""

    def __init__(self, embedder: Embedder, spelling: str) -> None:
        """`spelling` is how the embedder was asked for."""
        self.embedder = embedder
        self.spelling = spelling
        called = "MiniLM" if spelling == MINILM else embedder.id
        self.name = f"{called} + logistic regression"
        self.remote = spelling.startswith(("http://", "https://"))

    def settings(self) -> Mapping[str, Any]:
        """The embedder."""
        return {"embedder": self.spelling}

    def fit(self, task: Task) -> FittedReference:
        """Embed train and dev, and choose the penalty on dev. Loading the encoder is not timed."""
        self.embedder.embed(["warm up"])
        began = time.perf_counter()
        embed = self.embedder.embed
        train = embed([whole_text(example) for example in task.train])
        dev = embed([whole_text(example) for example in task.dev]) if task.dev else train[:0]
        fitted = fit_linear(
            (train, [example.target for example in task.train]),
            (dev, [example.target for example in task.dev]),
        )
        record = FitRecord(
            fit_seconds=time.perf_counter() - began,
            trainable_parameters=fitted.parameters,
            train_examples=len(task.train),
            dev_score=fitted.accuracy,
            settled={"embedder": self.embedder.id, "C": fitted.c},
        )
        return FittedReference(
            lambda examples: fitted.predict(embed([whole_text(e) for e in examples])), record
        )
