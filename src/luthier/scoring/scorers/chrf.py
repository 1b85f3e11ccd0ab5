"""chrF2 (Popović 2015, section 2), equal to that of `sacrebleu`, on a scale from 0 to 1.

n examples, s statistics.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from luthier.records import SampleScore
from luthier.scoring.metrics import ZERO_COUNT, Floats, Statistics
from luthier.scoring.scorer import Scorer
from luthier.scripts import composed

_ORDERS = 6
_BETA = 2.0


def sentence_chrf(prediction: str, target: str) -> float:
    """chrF2 of one pair, divided by 100."""
    return float(_chrf(np.array(chrf_counts(prediction, target), dtype=np.float64)))


def corpus_chrf(sample_scores: Sequence[SampleScore]) -> Statistics:
    """chrF2 / 100 (s = 18), equal to `sacrebleu.corpus_chrf`."""
    rows = [chrf_counts(s.prediction or "", s.target) for s in sample_scores]
    return Statistics(np.array(rows, dtype=np.float64).reshape(len(sample_scores), 18), _chrf)


@lru_cache(maxsize=100_000)
def chrf_counts(prediction: str, target: str) -> tuple[int, ...]:
    """For each of 6 orders: character n-grams of the prediction, of the target, and shared."""
    from sacrebleu.metrics.helpers import extract_all_char_ngrams

    counts: list[int] = []
    predicted = extract_all_char_ngrams(composed(prediction), _ORDERS, False)
    expected = extract_all_char_ngrams(composed(target), _ORDERS, False)
    for p, t in zip(predicted, expected, strict=True):
        # Orders longer than the target count for neither side, as in sacrebleu.
        counts += [p.total() if t else 0, t.total(), (Counter(p) & Counter(t)).total()]
    return tuple(counts)


def _chrf(sums: Floats) -> Floats:
    predicted, expected, shared = sums[..., 0::3], sums[..., 1::3], sums[..., 2::3]
    present = (predicted > ZERO_COUNT) & (expected > ZERO_COUNT)
    orders = np.maximum(present.sum(axis=-1), 1)
    zeros = np.zeros_like(shared)
    precision = np.divide(shared, predicted, out=zeros.copy(), where=present).sum(axis=-1) / orders
    recall = np.divide(shared, expected, out=zeros, where=present).sum(axis=-1) / orders
    factor = _BETA**2
    denominator = factor * precision + recall
    result: Floats = np.divide(
        (1.0 + factor) * precision * recall,
        denominator,
        out=np.zeros_like(denominator),
        where=denominator > 0,
    )
    return result


CHRF = Scorer("chrf", sentence_chrf, corpus_chrf)
