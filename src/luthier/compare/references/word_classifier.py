"""TF-IDF and logistic regression: the classifier that needs no model at all.

The features are single words and pairs of words, weighed by (1 + log tf) · idf and scaled to length
1 (Manning, Raghavan and Schütze 2008, chapter 6). Texts without spaces between words (Chinese,
Japanese, Thai) are taken as one to four characters instead.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from luthier.compare.references.plain_reference import FittedReference, PlainReference, whole_text
from luthier.records import FitRecord
from luthier.training.linear_classifier import fit_linear

if TYPE_CHECKING:
    from luthier.task.task import Task

LONGEST_WORDS = 15.0  # a mean number of characters between spaces that no spaced script reaches
WORD = r"(?u)\b\w+\b"


class WordClassifier(PlainReference):
    """Reads which words occur, and not their order."""

    name = "TF-IDF + logistic regression"

    def fit(self, task: Task) -> FittedReference:
        """Count the words of the training split, and choose the penalty on dev."""
        began = time.perf_counter()
        texts = [whole_text(example) for example in task.train]
        words = has_spaces(texts)
        vectorizer = _vectorizer(words=words)
        train = vectorizer.fit_transform(texts)
        dev = vectorizer.transform([whole_text(example) for example in task.dev] or [""])
        fitted = fit_linear(
            (train, [example.target for example in task.train]),
            (dev, [example.target for example in task.dev]),
        )
        record = FitRecord(
            fit_seconds=time.perf_counter() - began,
            trainable_parameters=fitted.parameters,
            train_examples=len(task.train),
            dev_score=fitted.accuracy,
            settled={"features": "words" if words else "characters", "C": fitted.c},
        )
        return FittedReference(
            lambda examples: fitted.predict(
                vectorizer.transform([whole_text(e) for e in examples])
            ),
            record,
        )


def has_spaces(texts: Sequence[str]) -> bool:
    """Whether words are divided by spaces in these texts."""
    words = [word for text in texts for word in text.split()]
    return not words or sum(map(len, words)) / len(words) <= LONGEST_WORDS


def _vectorizer(*, words: bool) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    if words:
        return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=WORD)
    return TfidfVectorizer(analyzer="char", ngram_range=(1, 4), sublinear_tf=True)
