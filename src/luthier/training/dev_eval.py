"""The dev score that picks learning rates and stops training.

With labels: the mean of accuracy and of the geometric mean probability, among the labels, of the
right one; both in [0, 1]. Accuracy is what counts and moves in jumps on a hundred examples; the
probability moves with every step and orders what is equal. Without labels the objective scores,
as a rule by minus its loss.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import torch

from luthier.engine import Session, score_continuations
from luthier.models.answering import label_continuations, render_for
from luthier.models.backend import ScoreRequest
from luthier.models.model import Model
from luthier.models.prompt import label_text
from luthier.records import Example
from luthier.task.task import Task
from luthier.training.objectives import Objective
from luthier.training.shared_prompt import row_logprobs

ROWS_PER_BATCH = 16


def dev_evaluation(
    model: Model,
    session_of: Callable[[], Session],
    examples: Sequence[Example],
    objective: Objective,
) -> Callable[[], tuple[float, int]]:
    """A function that scores the current state of a fit on `examples` and says how many tokens that
    took.

    `session_of` gives the session with the current virtual tokens in it.
    """
    if model.adaptation.decoding.labels:
        requests, right = label_requests(model, examples)

        def by_labels() -> tuple[float, int]:
            session = session_of()
            with torch.inference_mode():
                results = score_continuations(session, requests)
            logprobs = torch.tensor([r.logprobs for r in results])
            return label_score(logprobs, right), sum(r.usage.computed_tokens for r in results)

        return by_labels

    rows = objective.rows(model, session_of(), examples, virtual_tokens=0)
    rows = objective.ready(session_of(), rows)

    def by_objective() -> tuple[float, int]:
        session, found, spent = session_of(), [], 0
        with torch.inference_mode():
            for first in range(0, len(rows), ROWS_PER_BATCH):
                some = rows[first : first + ROWS_PER_BATCH]
                found.append(row_logprobs(session, some, session.soft))
                virtual = 0 if session.soft is None else int(session.soft.shape[1])
                spent += sum(row.tokens + virtual * len(row.answers) for row in some)
        logprobs = torch.cat(found) if found else torch.zeros(0, 1)
        return objective.dev_score(rows, logprobs), spent

    return by_objective


def dev_examples(task: Task, most: int) -> list[Example]:
    """At most `most` dev examples, the same for every technique and seed."""
    pool = sorted(task.dev, key=lambda e: e.id)
    if len(pool) <= most:
        return pool
    return random.Random(0).sample(pool, most)


def label_requests(
    model: Model, examples: Sequence[Example]
) -> tuple[list[ScoreRequest], torch.Tensor]:
    """Each example with all labels as continuations, and which label is right."""
    prompts = render_for(model, examples)
    continuations = label_continuations(model, prompts[0])
    labels = model.adaptation.decoding.labels
    right = torch.tensor([labels.index(e.target) for e in examples])
    return [ScoreRequest(p, continuations) for p in prompts], right


def label_tokens(model: Model) -> int | None:
    """Tokens of all labels together, which scoring one example reads after its prompt; None where
    there are no labels. Beginnings that labels share count for each."""
    labels, form = model.adaptation.decoding.labels, model.adaptation.prompt.format
    return sum(model.backend.count_tokens(f" {label_text(y, form)}") for y in labels) or None


def label_score(logprobs: torch.Tensor, right: torch.Tensor) -> float:
    """The dev score of (N, labels) log-probabilities."""
    logs = torch.log_softmax(logprobs, -1)
    accuracy = float((logs.argmax(-1) == right).float().mean())
    probability = float(logs.gather(1, right.unsqueeze(1)).mean().exp())
    return (accuracy + probability) / 2
