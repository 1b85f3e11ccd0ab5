"""Scorers by regular expression."""

from __future__ import annotations

import re

from luthier.errors import TaskError
from luthier.scoring.scorer import Scorer


def compiled(pattern: str) -> re.Pattern[str]:
    """The compiled regular expression. TaskError, with the place of the error, if it is not one."""
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise TaskError(
            f"{pattern!r} is not a regular expression: {error}.",
            next_step="Mend the pattern (Python's `re` syntax), or choose the scorer exact-match.",
        ) from error


def matches(prediction: str, target: str) -> float:
    """1 when the target, read as a regular expression, is found in the prediction."""
    return float(compiled(target).search(prediction) is not None)


REGEX = Scorer("regex", matches, check_target=compiled)


def pattern_scorer(pattern: str) -> Scorer:
    """A scorer of 1 when one fixed pattern is found in the prediction, whatever the target."""
    regex = compiled(pattern)
    return Scorer("regex", lambda prediction, target: float(regex.search(prediction) is not None))
