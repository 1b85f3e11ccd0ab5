"""Scorers by regular expression."""

from __future__ import annotations

import re
from functools import lru_cache

import regex

from luthier.errors import TaskError
from luthier.scoring.scorer import Scorer

MOST_SECONDS = 1.0  # of one search; a pattern that is sound takes microseconds


@lru_cache(maxsize=10_000)
def compiled(pattern: str) -> regex.Pattern[str]:
    """The compiled regular expression. TaskError, with the place of the error, if it is not one."""
    try:
        re.compile(pattern)  # the syntax is Python's
        return regex.compile(pattern)
    except (re.error, regex.error, RecursionError, OverflowError) as error:
        raise TaskError(
            f"{pattern!r} is not a regular expression: {error}.",
            next_step="Mend the pattern (Python's `re` syntax), or choose the scorer exact-match.",
        ) from error


def matches(prediction: str, target: str) -> float:
    """1 when the target, read as a regular expression, is found in the prediction."""
    return _found(compiled(target), prediction)


def pattern_scorer(pattern: str) -> Scorer:
    """A scorer of 1 when one fixed pattern is found in the prediction, whatever the target."""
    expression = compiled(pattern)
    return Scorer("regex", lambda prediction, target: _found(expression, prediction))


def _found(expression: regex.Pattern[str], text: str) -> float:
    """1 or 0. TaskError where the search does not end within `MOST_SECONDS`."""
    try:
        return float(expression.search(text, timeout=MOST_SECONDS) is not None)
    except TimeoutError as error:
        raise TaskError(
            f"The pattern {expression.pattern!r:.120} was still searching an answer of {len(text)} "
            f"characters after {MOST_SECONDS:g} second ({text[:80]!r}).",
            next_step="Nested repetitions such as (a+)+ take for ever: write the pattern without.",
        ) from error


REGEX = Scorer("regex", matches, check_target=compiled)
