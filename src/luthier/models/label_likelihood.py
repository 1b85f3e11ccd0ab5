"""How likely each label is, by the likeliest first tokens of an answer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

UNSEEN = 1e-6  # what rounding may leave


def label_likelihood(
    first: Sequence[tuple[str, float]], labels: Mapping[str, str]
) -> dict[str, float] | None:
    """log Σ p(t) for each label over the tokens t that begin it, or that it begins.

    `first` holds tokens with their log-probabilities, `labels` the text of each label. A label that
    no token begins gets the most that it can have: the least log-probability of `first`, and what
    all of them leave. None where a token begins several labels, which it does not tell apart, and
    where no token begins any.
    """
    mass = dict.fromkeys(labels, 0.0)
    for token, logprob in first:
        word = token.strip()
        begun = [n for n, text in labels.items() if word and _begins(word, text.strip())]
        if len(begun) > 1:
            return None
        if begun:
            mass[begun[0]] += math.exp(logprob)
    if not any(mass.values()):
        return None
    left = max(1.0 - sum(math.exp(logprob) for _, logprob in first), UNSEEN)
    most = min(math.log(left), *(logprob for _, logprob in first))
    return {name: math.log(p) if p > 0 else most for name, p in mass.items()}


def _begins(word: str, text: str) -> bool:
    return text.startswith(word) or word.startswith(text)
