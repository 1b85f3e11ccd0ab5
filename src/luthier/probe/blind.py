"""Do two sets of texts differ by themselves? Told without any model.

Texts that differ in subject or in time are told apart by their words alone, and then a difference
in likelihood says nothing about what a model has read (Das et al. 2024, arXiv:2406.16201).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from luthier.probe.told_apart import area
from luthier.records import Score

LEAST_DOCUMENTS = 4  # on each side
FOLDS = 4


def blind_area(
    first: Sequence[str],
    second: Sequence[str],
    *,
    of_first: Sequence[int],
    of_second: Sequence[int],
) -> Score | None:
    """How well the words alone tell the two sets apart: the area under the ROC curve of a linear
    classifier over words, fitted on other documents. None where there are too few."""
    if min(len(set(of_first)), len(set(of_second))) < LEAST_DOCUMENTS:
        return None
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline

    texts = np.array([*first, *second], dtype=object)
    sides = np.array([1] * len(first) + [0] * len(second))
    groups = np.array([*of_first, *(-1 - n for n in of_second)])
    values = np.zeros(len(texts))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    for train, test in folds.split(texts, sides, groups):
        if len(set(sides[train])) < 2:
            return None
        classifier = make_pipeline(
            TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\b\w+\b|[^\w\s]"),
            LogisticRegression(max_iter=1000),
        ).fit(texts[train], sides[train])
        values[test] = classifier.decision_function(texts[test])
    return area(
        values[sides == 1].tolist(),
        values[sides == 0].tolist(),
        of_first=of_first,
        of_second=of_second,
        metric="words alone",
    )
