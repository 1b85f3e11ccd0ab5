"""The dev score that picks learning rates and stops training.

With labels: the mean of accuracy and of the geometric mean probability, among the labels, of the
right one; both in [0, 1]. Accuracy is what counts and moves in jumps on a hundred examples; the
probability moves with every step and orders what is equal. Without labels: minus the loss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from luthier.engine import Session, score_continuations
from luthier.models.answering import label_continuations, render_for
from luthier.models.backend import ScoreRequest
from luthier.models.model import Model
from luthier.records import Example
from luthier.training.rows import batch_of, loss_of, rows_for


def dev_evaluation(
    model: Model, session_of: Callable[[], Session], examples: Sequence[Example]
) -> Callable[[], tuple[float, int]]:
    """A function that scores the current state of a fit on `examples`; it also says its tokens.

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

    rows = rows_for(model, session_of(), examples)

    def by_loss() -> tuple[float, int]:
        session, total, spent, answers = session_of(), 0.0, 0, 0
        with torch.inference_mode():
            for at in range(0, len(rows), 16):
                batch = batch_of(session, rows[at : at + 16])
                counted = int((batch.targets != -100).sum())
                total += float(loss_of(session, batch, session.soft)) * counted
                answers += counted
                spent += batch.tokens
        return -total / max(answers, 1), spent

    return by_loss


def label_requests(
    model: Model, examples: Sequence[Example]
) -> tuple[list[ScoreRequest], torch.Tensor]:
    """Each example with all labels as continuations, and which label is right."""
    prompts = render_for(model, examples)
    continuations = label_continuations(model, prompts[0])
    labels = model.adaptation.decoding.labels
    right = torch.tensor([labels.index(e.target) for e in examples])
    return [ScoreRequest(p, continuations) for p in prompts], right


def label_score(logprobs: torch.Tensor, right: torch.Tensor) -> float:
    """The dev score of (N, labels) log-probabilities."""
    logs = torch.log_softmax(logprobs, -1)
    accuracy = float((logs.argmax(-1) == right).float().mean())
    probability = float(logs.gather(1, right.unsqueeze(1)).mean().exp())
    return (accuracy + probability) / 2
