"""Scorers of short answers, as in SQuAD: exact match and F1 over words."""

from __future__ import annotations

import re
import string
from collections import Counter

from luthier.scoring.scorer import Scorer

_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalised(text: str) -> str:
    """Lower case, no ASCII punctuation, no English articles, single spaces.

    The normalisation of SQuAD (arXiv:1606.05250, section 6.1, and its official script).
    """
    kept = "".join(ch for ch in text.lower() if ch not in string.punctuation)
    return " ".join(_ARTICLES.sub(" ", kept).split())


def exact_match(prediction: str, target: str) -> float:
    """1 when the two are equal after SQuAD's normalisation."""
    return float(normalised(prediction) == normalised(target))


def token_f1(prediction: str, target: str) -> float:
    """Harmonic mean of precision and recall over the bag of normalised words, as in SQuAD.

    Where one side has no word left, 1 if neither has and 0 otherwise.
    """
    predicted, expected = normalised(prediction).split(), normalised(target).split()
    if not predicted or not expected:
        return float(predicted == expected)
    shared = sum((Counter(predicted) & Counter(expected)).values())
    return 2.0 * shared / (len(predicted) + len(expected))


EXACT_MATCH = Scorer("exact-match", exact_match)
TOKEN_F1 = Scorer("token-f1", token_f1)
