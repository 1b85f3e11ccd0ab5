"""A user's own function as a scorer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from luthier.errors import TaskError, UserError
from luthier.scoring.scorer import ScoreFunction, Scorer


def custom_scorer(function: ScoreFunction, name: str) -> Scorer:
    """The scorer of a user's function (prediction, target) -> number.

    The attributes `low`, `high` and `higher_is_better` of the function count. Without bounds the
    interval is clipped to [0, 1] only where every score lies there.
    """
    return Scorer(
        metric=name,
        score=checked_function(function, name),
        low=getattr(function, "low", None),
        high=getattr(function, "high", None),
        higher_is_better=bool(getattr(function, "higher_is_better", True)),
    )


def checked_function(function: Callable[[str, str], Any], name: str) -> ScoreFunction:
    """A user's function, with its mistakes turned into messages."""

    def score(prediction: str, target: str) -> float:
        try:
            value = float(function(prediction, target))
        except UserError:
            raise
        except (Exception, SystemExit) as error:
            raise TaskError(
                f"The scorer {name} failed with {type(error).__name__}: {error} "
                f"(prediction {prediction[:80]!r}, target {target[:80]!r}).",
                next_step="It must take (prediction, target) and return one number.",
            ) from error
        if value != value or value in (float("inf"), float("-inf")):
            raise TaskError(
                f"The scorer {name} returned {value} "
                f"(prediction {prediction[:80]!r}, target {target[:80]!r}).",
                next_step="It must return a finite number for every pair.",
            )
        return value

    return score
