"""Questions by what they are about: clusters of their words, named by the commonest ones.

TF-IDF vectors and k-means (scikit-learn); the same questions and seed give the same topics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from luthier.scoring.statistics.intervals import wilson

LEAST_QUESTIONS = 12  # of a topic, on average
MOST_TOPICS = 8
NAMED_BY = 3  # words


@dataclass(frozen=True, slots=True)
class TopicScore:
    """Questions on one matter: how many, the share of right answers with its interval, and the mean
    confidence in them."""

    topic: str
    questions: int
    accuracy: float
    low: float
    high: float
    confidence: float | None = None


def topic_scores(
    names: Sequence[str], right: Sequence[float], confidences: Sequence[float] | None
) -> tuple[TopicScore, ...]:
    """The score of each topic, the worst first. `names` says which topic each question is of."""
    found = []
    for name in dict.fromkeys(names):
        rows = [row for row, topic in enumerate(names) if topic == name]
        hits = sum(right[row] for row in rows)
        low, high = wilson(hits, len(rows))
        sure = None
        if confidences is not None:
            sure = float(np.mean([confidences[row] for row in rows]))
        found.append(TopicScore(name, len(rows), hits / len(rows), low, high, sure))
    return tuple(sorted(found, key=lambda topic: (topic.accuracy, topic.topic)))


def topic_names(texts: Sequence[str], *, seed: int = 0) -> list[str] | None:
    """The topic of each text, named by its commonest words; None where there are too few texts, or
    no words in them, to tell topics apart."""
    count = min(MOST_TOPICS, len(texts) // LEAST_QUESTIONS)
    if count < 2:
        return None
    from sklearn.cluster import KMeans
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(
        stop_words="english", sublinear_tf=True, token_pattern=r"(?u)\b\w\w+\b"
    )
    try:
        vectors = vectorizer.fit_transform(texts)
    except ValueError:  # nothing but stop words
        return None
    if np.unique(vectors.toarray(), axis=0).shape[0] < count:
        return None
    clusters = KMeans(count, random_state=seed, n_init=4).fit_predict(vectors)
    words = vectorizer.get_feature_names_out()
    names = {}
    for cluster in range(count):
        weights = np.asarray(vectors[clusters == cluster].mean(axis=0)).ravel()
        best = sorted(np.argsort(-weights, kind="stable")[:NAMED_BY], key=lambda i: -weights[i])
        names[cluster] = ", ".join(str(words[i]) for i in best if weights[i] > 0) or "other"
    return [names[int(cluster)] for cluster in clusters]
