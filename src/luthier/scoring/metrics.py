"""Aggregation: every metric is a function of summed per-example statistics.

The mean is sum(points) / sum(weights); macro-F1, BLEU, chrF and perplexity are functions of sums as
well. That is what makes resampling cheap: a bootstrap replicate is weights (B, n) times statistics
(n, s), and a permutation exchanges rows, whatever the metric.

B replicates, n examples, s statistics, K classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from luthier.records import SampleScore
from luthier.scoring.text_scores import bleu_scorer

Floats = npt.NDArray[np.float64]

_BLEU_ORDER = 4
_CHRF_ORDER = 6
_CHRF_BETA = 2.0
# Counts may be averaged over seeds in single precision; less than this of one is none.
_SOME = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """`values` (n, s), one row for each example; `combine` maps sums (..., s) to the metric."""

    values: Floats
    combine: Callable[[Floats], Floats]

    @property
    def value(self) -> float:
        """The metric over all rows."""
        return float(self.combine(self.values.sum(axis=0)))


def mean(sample_scores: Sequence[SampleScore]) -> Statistics:
    """Weighted mean of the values (s = 2)."""
    return Statistics(_weighted_values(sample_scores), _ratio)


def perplexity(sample_scores: Sequence[SampleScore]) -> Statistics:
    """exp of the mean nats per token (s = 2); points are nats per token, weights are tokens."""
    return Statistics(
        _weighted_values(sample_scores), lambda sums: np.exp(np.minimum(_ratio(sums), 700.0))
    )


def macro_f1(sample_scores: Sequence[SampleScore]) -> Statistics:
    """Unweighted mean of the F1 of each class (s = 3K: hits, predicted, true).

    Classes that are neither true nor predicted among the (resampled) examples are left out, as in
    scikit-learn's default. An unreadable answer misses its class and counts against no other.
    """
    classes = sorted(
        {j.target for j in sample_scores} | {j.prediction for j in sample_scores if j.prediction}
    )
    place = {label: k for k, label in enumerate(classes)}
    width = len(classes)
    values = np.zeros((len(sample_scores), 3 * width))
    for row, j in enumerate(sample_scores):
        values[row, 2 * width + place[j.target]] = 1.0
        if j.prediction:
            values[row, width + place[j.prediction]] = 1.0
            values[row, place[j.target]] = float(j.prediction == j.target)
    return Statistics(values, _macro_f1)


def corpus_bleu(sample_scores: Sequence[SampleScore]) -> Statistics:
    """BLEU / 100 (s = 10), equal to `sacrebleu.corpus_bleu` (Papineni et al. 2002, section 2.3)."""
    rows = [bleu_counts(j.prediction or "", j.target) for j in sample_scores]
    return Statistics(np.array(rows, dtype=np.float64).reshape(len(sample_scores), 10), _bleu)


def corpus_chrf(sample_scores: Sequence[SampleScore]) -> Statistics:
    """chrF2 / 100 (s = 18), equal to `sacrebleu.corpus_chrf` (Popović 2015, section 2)."""
    rows = [chrf_counts(j.prediction or "", j.target) for j in sample_scores]
    return Statistics(np.array(rows, dtype=np.float64).reshape(len(sample_scores), 18), _chrf)


def sentence_chrf(prediction: str, target: str) -> float:
    """chrF2 of one pair, divided by 100."""
    return float(_chrf(np.array(chrf_counts(prediction, target), dtype=np.float64)))


@lru_cache(maxsize=100_000)
def bleu_counts(prediction: str, target: str) -> tuple[int, ...]:
    """Matching n-grams (4 orders), all n-grams (4 orders), length of prediction, of target."""
    score = bleu_scorer().sentence_score(prediction, [target])
    return (*score.counts, *score.totals, score.sys_len, score.ref_len)


@lru_cache(maxsize=100_000)
def chrf_counts(prediction: str, target: str) -> tuple[int, ...]:
    """For each of 6 orders: character n-grams of the prediction, of the target, and shared."""
    from sacrebleu.metrics.helpers import extract_all_char_ngrams

    counts: list[int] = []
    said = extract_all_char_ngrams(prediction, _CHRF_ORDER, False)
    wanted = extract_all_char_ngrams(target, _CHRF_ORDER, False)
    for p, t in zip(said, wanted, strict=True):
        # Orders longer than the target count for neither side, as in sacrebleu.
        counts += [p.total() if t else 0, t.total(), (Counter(p) & Counter(t)).total()]
    return tuple(counts)


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
    names = list(dict.fromkeys([*labels, *sorted({j.target for j in sample_scores})]))
    place = {name: k for k, name in enumerate(names)}
    counts = np.zeros((len(names), len(names) + 1), dtype=np.int64)
    for j in sample_scores:
        column = place.get(j.prediction, len(names)) if j.prediction else len(names)
        counts[place[j.target], column] += 1
    return ConfusionMatrix(
        labels=tuple(names),
        counts=tuple(tuple(int(c) for c in row[:-1]) for row in counts),
        unreadable=tuple(int(row[-1]) for row in counts),
    )


def _weighted_values(sample_scores: Sequence[SampleScore]) -> Floats:
    return np.array(
        [(j.value * j.weight, j.weight) for j in sample_scores], dtype=np.float64
    ).reshape(len(sample_scores), 2)


def _ratio(sums: Floats) -> Floats:
    top, bottom = sums[..., 0], sums[..., 1]
    return np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom > 0)


def _macro_f1(sums: Floats) -> Floats:
    hits, predicted, true = np.split(sums, 3, axis=-1)
    seen = predicted + true
    f1 = np.divide(2.0 * hits, seen, out=np.zeros_like(seen), where=seen > _SOME)
    total: Floats = f1.sum(axis=-1) / np.maximum((seen > _SOME).sum(axis=-1), 1)
    return total


def _bleu(sums: Floats) -> Floats:
    correct, total = sums[..., :_BLEU_ORDER], sums[..., _BLEU_ORDER : 2 * _BLEU_ORDER]
    said, wanted = sums[..., -2], sums[..., -1]
    brevity = np.exp(np.minimum(0.0, 1.0 - wanted / np.maximum(said, 1e-9)))
    # NIST smoothing: the k-th order without a match counts as 2^-k matches.
    missing = correct < _SOME
    halvings = np.cumsum(missing, axis=-1)
    matched = np.where(missing, 0.5**halvings, correct)
    logs = np.log(matched) - np.log(np.maximum(total, 1e-9))
    score = brevity * np.exp(logs.mean(axis=-1))
    defined = (correct.sum(axis=-1) > _SOME) & (total > _SOME).all(axis=-1) & (said > _SOME)
    result: Floats = np.where(defined, np.minimum(score, 1.0), 0.0)
    return result


def _chrf(sums: Floats) -> Floats:
    said, wanted, shared = sums[..., 0::3], sums[..., 1::3], sums[..., 2::3]
    usable = (said > _SOME) & (wanted > _SOME)
    orders = np.maximum(usable.sum(axis=-1), 1)
    zeros = np.zeros_like(shared)
    precision = np.divide(shared, said, out=zeros.copy(), where=usable).sum(axis=-1) / orders
    recall = np.divide(shared, wanted, out=zeros, where=usable).sum(axis=-1) / orders
    factor = _CHRF_BETA**2
    below = factor * precision + recall
    result: Floats = np.divide(
        (1.0 + factor) * precision * recall, below, out=np.zeros_like(below), where=below > 0
    )
    return result
