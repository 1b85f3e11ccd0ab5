"""TF-IDF and logistic regression: the classifier that needs no model at all.

The features are single words and pairs of words, weighed by (1 + log tf) · idf and scaled to length
1 (Manning, Raghavan and Schütze 2008, chapter 6). Texts without spaces between words (Chinese,
Japanese, Thai) are taken as one to four characters instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from luthier.records import Example
from luthier.training.linear_classifier import LinearFit, fit_linear

LONGEST_WORDS = 15.0  # a mean number of characters between spaces that no spaced script reaches
WORD = r"(?u)\b\w+\b"


@dataclass(frozen=True, slots=True, eq=False)
class WordFit:
    """A fitted classifier; `words`: it reads words, and not characters."""

    classifier: LinearFit
    vectorizer: Any
    words: bool

    def predict(self, examples: Sequence[Example]) -> list[str]:
        """The likeliest label of each example."""
        texts = [whole_text(example) for example in examples]
        return self.classifier.predict(self.vectorizer.transform(texts))


def fit_words(train: Sequence[Example], dev: Sequence[Example]) -> WordFit:
    """Count the words of `train`, and choose the penalty on `dev`."""
    texts = [whole_text(example) for example in train]
    words = has_spaces(texts)
    vectorizer = _vectorizer(words=words)
    features = vectorizer.fit_transform(texts)
    on_dev = vectorizer.transform([whole_text(example) for example in dev] or [""])
    fitted = fit_linear(
        (features, [example.target for example in train]),
        (on_dev, [example.target for example in dev]),
    )
    return WordFit(fitted, vectorizer, words)


def whole_text(example: Example) -> str:
    """What a plain classifier reads of an example: its passage, if it has one, and its input."""
    return f"{example.context}\n{example.text}" if example.context else example.text


def has_spaces(texts: Sequence[str]) -> bool:
    """Whether words are divided by spaces in these texts."""
    words = [word for text in texts for word in text.split()]
    return not words or sum(map(len, words)) / len(words) <= LONGEST_WORDS


def _vectorizer(*, words: bool) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    if words:
        return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=WORD)
    return TfidfVectorizer(analyzer="char", ngram_range=(1, 4), sublinear_tf=True)
