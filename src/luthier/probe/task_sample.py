"""Which examples of a task a probe asks, and how sure of labels the answers are."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from luthier.content import Response
from luthier.models.model import Model
from luthier.records import Example
from luthier.scoring.scorer import Scorer
from luthier.task.task import Task

RIGHT = 0.5  # of the highest score: from here on an answer counts as right


def is_right(scorer: Scorer, answer: str, example: Example) -> bool:
    """Whether an answer to an example counts as right."""
    value = scorer.of(answer, example.target, question=example.text)
    return value >= RIGHT * (1.0 if scorer.high is None else scorer.high)


def unmet_examples(
    model: Model, task: Task, most: int, seed: int
) -> tuple[str, tuple[Example, ...]]:
    """Some examples that no fit of this model has seen, and their split: train for a bare base, so
    that the test split stays locked; test for a model that was fitted."""
    if model.lineage is None and len(task.train) >= len(task.dev):
        return "train", drawn(task.train, most, seed)
    if model.lineage is None or task.is_locked:
        return "dev", drawn(task.dev, most, seed)
    return "test", drawn(task.test, most, seed)


def drawn(examples: Sequence[Example], most: int, seed: int) -> tuple[Example, ...]:
    """At most so many examples, drawn with the seed, in their order."""
    if len(examples) <= most:
        return tuple(examples)
    rows = sorted(random.Random(seed).sample(range(len(examples)), most))
    return tuple(examples[row] for row in rows)


def label_logprobs(
    responses: Sequence[Response], labels: Sequence[str]
) -> npt.NDArray[np.float64] | None:
    """(N, L): what each answer was chosen by; None where labels were not scored for all."""
    scores = [response.label_scores or response.label_logprobs for response in responses]
    if not labels or not all(scores):
        return None
    return np.array([[row[label] for label in labels] for row in scores if row], np.float64)
