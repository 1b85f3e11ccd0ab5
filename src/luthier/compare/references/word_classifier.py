"""TF-IDF and logistic regression (`training.word_features`) as a reference."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from luthier.compare.references.plain_reference import FittedReference, PlainReference
from luthier.records import FitRecord
from luthier.training.word_features import fit_words

if TYPE_CHECKING:
    from luthier.task.task import Task


class WordClassifier(PlainReference):
    """Reads which words occur, and not their order."""

    name = "TF-IDF + logistic regression"

    def fit(self, task: Task) -> FittedReference:
        """Count the words of the training split, and choose the penalty on dev."""
        began = time.perf_counter()
        fitted = fit_words(task.train, task.dev)
        record = FitRecord(
            fit_seconds=time.perf_counter() - began,
            trainable_parameters=fitted.classifier.parameters,
            train_examples=len(task.train),
            dev_score=fitted.classifier.accuracy,
            settled={
                "features": "words" if fitted.words else "characters", "C": fitted.classifier.c
            },
        )  # fmt: skip
        return FittedReference(lambda examples: fitted.predict(examples), record)
