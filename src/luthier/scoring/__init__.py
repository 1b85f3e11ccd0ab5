"""How good is it? Scorers judge one example, metrics aggregate, statistics say how sure one can be.

Nothing is loaded until it is asked for, so that importing Luthier stays quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from luthier.scoring.aggregate import aggregate_samples, aggregate_seeds, parse_rate
    from luthier.scoring.evaluation import evaluate, score_samples
    from luthier.scoring.latency import Latency, measure_latency
    from luthier.scoring.metrics import ConfusionMatrix, confusion_matrix
    from luthier.scoring.off_task import OffTaskLoss, forgetting, off_task_loss
    from luthier.scoring.scorers import (
        Scorer,
        resolve_scorer,
        scorer_for,
        secondary_scorers,
    )
    from luthier.scoring.statistics.paired import paired_tests

_HOMES = {
    "ConfusionMatrix": "metrics",
    "Latency": "latency",
    "OffTaskLoss": "off_task",
    "Scorer": "scorers",
    "aggregate_seeds": "aggregate",
    "confusion_matrix": "metrics",
    "evaluate": "evaluation",
    "forgetting": "off_task",
    "score_samples": "evaluation",
    "measure_latency": "latency",
    "off_task_loss": "off_task",
    "paired_tests": "statistics.paired",
    "parse_rate": "aggregate",
    "resolve_scorer": "scorers",
    "aggregate_samples": "aggregate",
    "scorer_for": "scorers",
    "secondary_scorers": "scorers",
}

__all__ = [
    "ConfusionMatrix",
    "Latency",
    "OffTaskLoss",
    "Scorer",
    "aggregate_samples",
    "aggregate_seeds",
    "confusion_matrix",
    "evaluate",
    "forgetting",
    "measure_latency",
    "off_task_loss",
    "paired_tests",
    "parse_rate",
    "resolve_scorer",
    "score_samples",
    "scorer_for",
    "secondary_scorers",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
