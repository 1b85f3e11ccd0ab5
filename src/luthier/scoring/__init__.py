"""How good is it? Scorers score one example, metrics aggregate, statistics say how sure one can be.

Nothing is loaded until it is asked for, so that importing Luthier stays quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from luthier.scoring.aggregate import (
        aggregate_samples,
        aggregate_seeds,
        aggregate_techniques,
        parse_rate,
    )
    from luthier.scoring.evaluation import evaluate, score_samples
    from luthier.scoring.latency import Latency, measure_latency
    from luthier.scoring.off_task import OffTaskLoss, forgetting, off_task_loss
    from luthier.scoring.resolve import resolve_scorer, scorer_for, secondary_scorers
    from luthier.scoring.scorer import Scorer
    from luthier.scoring.scorers.class_labels import ConfusionMatrix, confusion_matrix
    from luthier.scoring.statistics.with_best import (
        ComparisonsWithBest,
        compare_with_best,
        paired_tests,
    )

_MODULES = {
    "ComparisonsWithBest": "statistics.with_best",
    "ConfusionMatrix": "scorers.class_labels",
    "Latency": "latency",
    "OffTaskLoss": "off_task",
    "Scorer": "scorer",
    "aggregate_samples": "aggregate",
    "aggregate_seeds": "aggregate",
    "aggregate_techniques": "aggregate",
    "compare_with_best": "statistics.with_best",
    "confusion_matrix": "scorers.class_labels",
    "evaluate": "evaluation",
    "forgetting": "off_task",
    "measure_latency": "latency",
    "off_task_loss": "off_task",
    "paired_tests": "statistics.with_best",
    "parse_rate": "aggregate",
    "resolve_scorer": "resolve",
    "score_samples": "evaluation",
    "scorer_for": "resolve",
    "secondary_scorers": "resolve",
}

__all__ = [
    "ComparisonsWithBest",
    "ConfusionMatrix",
    "Latency",
    "OffTaskLoss",
    "Scorer",
    "aggregate_samples",
    "aggregate_seeds",
    "aggregate_techniques",
    "compare_with_best",
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
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
