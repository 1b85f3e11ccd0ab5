"""A user's own function as a scorer, from memory or from a file."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from luthier.errors import TaskError, UserError, did_you_mean
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
        except Exception as error:
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


def load_function(spec: str) -> ScoreFunction:
    """The function that "path/to/file.py:function" names. TaskError where there is none."""
    file, _, name = spec.rpartition(":")
    path = Path(file).expanduser()
    if not path.is_file():
        raise TaskError(
            f"The scorer {spec!r} names a file that is not there: {path.resolve()}.",
            next_step="Give the path from the folder in which the command runs.",
        )
    module_spec = spec_from_file_location(f"luthier_scorer_{path.stem}", path)
    if module_spec is None or module_spec.loader is None:
        raise TaskError(f"{path} cannot be imported as Python.")
    module = module_from_spec(module_spec)
    try:
        module_spec.loader.exec_module(module)
    except Exception as error:
        raise TaskError(
            f"Importing the scorer file {path} failed with {type(error).__name__}: {error}.",
            next_step=f"Run `python {path}` to see where.",
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        offered = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise TaskError(
            f"{path} has no function named {name!r}.",
            choices=offered,
            next_step=did_you_mean(name, offered),
        )
    loaded: ScoreFunction = function
    return loaded
