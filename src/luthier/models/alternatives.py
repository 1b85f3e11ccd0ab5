"""Continuations as alternatives: where one begins another, its end counts.

p("refund") is never below p("refund refused"), whose tokens begin with its own, whatever a model
was taught. So what goes on as the longer one is not the shorter one's:

    p(y ends) = p(y) − Σ_z p(z), over the nearest continuations z that y begins.

Where no continuation begins another, nothing changes.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

# The least share of a continuation's probability that its end keeps: below it lies rounding.
LEAST_SHARE = 1e-6

Tokens = Sequence[Hashable]


def nearest_longer(continuations: Sequence[Tokens]) -> list[tuple[int, ...]]:
    """For each continuation those whose longest beginning among the others it is, equal ones
    once."""
    known = {tuple(tokens): k for k, tokens in reversed(list(enumerate(continuations)))}
    longer: dict[tuple[Hashable, ...], list[int]] = {}
    for tokens, k in known.items():
        for length in range(len(tokens) - 1, 0, -1):
            if tokens[:length] in known:
                longer.setdefault(tokens[:length], []).append(k)
                break
    return [tuple(sorted(longer.get(tuple(tokens), ()))) for tokens in continuations]


def told_apart(
    logprobs: Sequence[float], greedy: Sequence[bool], continuations: Sequence[Tokens]
) -> tuple[tuple[float, ...], tuple[bool, ...]]:
    """The log-probabilities and greedy flags of continuations that end, from those of their tokens
    alone. The share of an end is at least `LEAST_SHARE`."""
    longer = nearest_longer(continuations)
    if not any(longer):
        return tuple(logprobs), tuple(greedy)
    values = tuple(
        own if not more else own + end_logprob(own, [logprobs[k] for k in more])
        for own, more in zip(logprobs, longer, strict=True)
    )
    flags = tuple(
        own and not any(greedy[k] for k in more) for own, more in zip(greedy, longer, strict=True)
    )
    return values, flags


def end_logprob(own: float, longer: Sequence[float]) -> float:
    """The log-probability that a continuation of log-probability `own` ends, and goes on as none of
    the `longer` ones."""
    if math.isinf(own):
        return 0.0
    goes_on = sum(math.exp(min(value - own, 0.0)) for value in longer)
    return math.log(max(1.0 - goes_on, LEAST_SHARE))
