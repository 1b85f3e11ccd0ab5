"""BLEU (Papineni et al. 2002, section 2.3), through `sacrebleu`, on a scale from 0 to 1.

A character of a script without spaces is a word, as in sacrebleu's tokenizer "zh"; all else is
split by its default, "13a".

n examples, s statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from luthier.records import SampleScore
from luthier.scoring.metrics import ZERO_COUNT, Floats, Statistics
from luthier.scoring.scorer import Scorer
from luthier.scripts import spaced

_ORDERS = 4


def sentence_bleu(prediction: str, target: str) -> float:
    """BLEU of one sentence, with effective order, divided by 100."""
    score = float(bleu_scorer().sentence_score(spaced(prediction), [spaced(target)]).score)
    return min(1.0, score / 100.0)  # rounding takes a perfect match past 100


def corpus_bleu(sample_scores: Sequence[SampleScore]) -> Statistics:
    """BLEU / 100 (s = 10), equal to `sacrebleu.corpus_bleu`."""
    rows = [bleu_counts(s.prediction or "", s.target) for s in sample_scores]
    return Statistics(np.array(rows, dtype=np.float64).reshape(len(sample_scores), 10), _bleu)


@lru_cache(maxsize=100_000)
def bleu_counts(prediction: str, target: str) -> tuple[int, ...]:
    """Matching n-grams (4 orders), all n-grams (4 orders), length of prediction, of target."""
    score = bleu_scorer().sentence_score(spaced(prediction), [spaced(target)])
    return (*score.counts, *score.totals, score.sys_len, score.ref_len)


@lru_cache(maxsize=1)
def bleu_scorer() -> Any:
    """`sacrebleu`'s BLEU of single sentences, built once."""
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(effective_order=True)


def _bleu(sums: Floats) -> Floats:
    correct, total = sums[..., :_ORDERS], sums[..., _ORDERS : 2 * _ORDERS]
    predicted, expected = sums[..., -2], sums[..., -1]
    brevity = np.exp(np.minimum(0.0, 1.0 - expected / np.maximum(predicted, 1e-9)))
    # NIST smoothing: the k-th order without a match counts as 2^-k matches.
    missing = correct < ZERO_COUNT
    halvings = np.cumsum(missing, axis=-1)
    matched = np.where(missing, 0.5**halvings, correct)
    logs = np.log(matched) - np.log(np.maximum(total, 1e-9))
    score = brevity * np.exp(logs.mean(axis=-1))
    defined = (
        (correct.sum(axis=-1) > ZERO_COUNT)
        & (total > ZERO_COUNT).all(axis=-1)
        & (predicted > ZERO_COUNT)
    )
    result: Floats = np.where(defined, np.minimum(score, 1.0), 0.0)
    return result


BLEU = Scorer("bleu", sentence_bleu, corpus_bleu)
