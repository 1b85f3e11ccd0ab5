"""Scorers of labels: accuracy and macro-F1, and the confusion matrix.

K classes, s statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from luthier.records import SampleScore
from luthier.scoring.metrics import ZERO_COUNT, Floats, Statistics
from luthier.scoring.scorer import Scorer
from luthier.scripts import composed


def same(prediction: str, target: str) -> float:
    """1 when the two are equal apart from white space at their ends and the normal form of their
    characters."""
    return float(composed(prediction.strip()) == composed(target.strip()))


def macro_f1(sample_scores: Sequence[SampleScore]) -> Statistics:
    """Unweighted mean of the F1 of each class (s = 3K: hits, predicted, true).

    Classes that are neither true nor predicted among the (resampled) examples are left out, as in
    scikit-learn's default. An unreadable answer misses its class and counts against no other.
    """
    classes = sorted(
        {s.target for s in sample_scores} | {s.prediction for s in sample_scores if s.prediction}
    )
    column = {label: k for k, label in enumerate(classes)}
    width = len(classes)
    values = np.zeros((len(sample_scores), 3 * width))
    for row, s in enumerate(sample_scores):
        values[row, 2 * width + column[s.target]] = 1.0
        if s.prediction:
            values[row, width + column[s.prediction]] = 1.0
            values[row, column[s.target]] = float(s.prediction == s.target)
    return Statistics(values, _macro_f1)


def _macro_f1(sums: Floats) -> Floats:
    hits, predicted, true = np.split(sums, 3, axis=-1)
    seen = predicted + true
    f1 = np.divide(2.0 * hits, seen, out=np.zeros_like(seen), where=seen > ZERO_COUNT)
    total: Floats = f1.sum(axis=-1) / np.maximum((seen > ZERO_COUNT).sum(axis=-1), 1)
    return total


@dataclass(frozen=True, slots=True)
class ConfusionMatrix:
    """`counts[i][j]`: examples of class `labels[i]` predicted as `labels[j]`.

    `unreadable[i]`: those of class i whose answer was none of the labels.
    """

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    unreadable: tuple[int, ...]


def confusion_matrix(
    sample_scores: Sequence[SampleScore], labels: Sequence[str] = ()
) -> ConfusionMatrix:
    """Rows are targets, columns predictions. Targets missing from `labels` are put after them."""
    names = list(dict.fromkeys([*labels, *sorted({s.target for s in sample_scores})]))
    row_of = {name: k for k, name in enumerate(names)}
    counts = np.zeros((len(names), len(names) + 1), dtype=np.int64)
    for s in sample_scores:
        column = row_of.get(s.prediction, len(names)) if s.prediction else len(names)
        counts[row_of[s.target], column] += 1
    return ConfusionMatrix(
        labels=tuple(names),
        counts=tuple(tuple(int(c) for c in row[:-1]) for row in counts),
        unreadable=tuple(int(row[-1]) for row in counts),
    )


ACCURACY = Scorer("accuracy", same)
MACRO_F1 = Scorer("macro-f1", same, macro_f1)
