"""Scorers of short answers, as in SQuAD: exact match and F1 over words."""

from __future__ import annotations

import re
from collections import Counter

from luthier.scoring.scorer import Scorer
from luthier.scripts import narrow, spaced, without_signs

_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalised(text: str) -> str:
    """Lower case, no punctuation, no English articles, single spaces.

    The normalisation of SQuAD (arXiv:1606.05250, section 6.1, and its official script), for every
    script, and without what makes two answers one: signs stay where they are part of a number or
    of a name (3.14, -5, C#, C++), and so does a text of signs or articles alone.
    """
    kept = without_signs(text)
    without = " ".join(_ARTICLES.sub(" ", kept).split())
    return without or kept or " ".join(narrow(text).split())


def exact_match(prediction: str, target: str) -> float:
    """1 when the two are equal after SQuAD's normalisation."""
    return float(normalised(prediction) == normalised(target))


def token_f1(prediction: str, target: str) -> float:
    """Harmonic mean of precision and recall over the bag of normalised words, as in SQuAD; a
    character of a script without spaces is a word.

    Where one side has no word left, 1 if neither has and 0 otherwise.
    """
    predicted = spaced(normalised(prediction)).split()
    expected = spaced(normalised(target)).split()
    if not predicted or not expected:
        return float(predicted == expected)
    shared = sum((Counter(predicted) & Counter(expected)).values())
    return 2.0 * shared / (len(predicted) + len(expected))


EXACT_MATCH = Scorer("exact-match", exact_match)
TOKEN_F1 = Scorer("token-f1", token_f1)
