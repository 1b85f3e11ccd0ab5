"""Perplexity: how likely a model finds the targets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from luthier.errors import TaskError
from luthier.records import SampleScore
from luthier.scoring.metrics import Statistics, ratio, weighted_values
from luthier.scoring.scorer import Scorer


def perplexity(sample_scores: Sequence[SampleScore]) -> Statistics:
    """exp of the mean nats per token (s = 2); scores are nats per token, weights are tokens."""
    return Statistics(
        weighted_values(sample_scores), lambda sums: np.exp(np.minimum(ratio(sums), 700.0))
    )


def _no_answers(prediction: str, target: str) -> float:
    raise TaskError(
        "Perplexity is read from log-probabilities and cannot score an answer.",
        next_step="Call `luthier.evaluate`, or choose a scorer that compares texts.",
    )


PERPLEXITY = Scorer(
    "perplexity",
    _no_answers,
    perplexity,
    low=1.0,
    high=None,
    higher_is_better=False,
    needs_likelihood=True,
)
