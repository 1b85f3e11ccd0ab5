"""What a model is trained for, apart from which of its parameters train.

An objective says which rows it reads and turns the log-probabilities of their answers into a loss.
Whatever trains (an adapter, a soft prompt, all weights: see `training.trainable`) computes these
log-probabilities, so that every objective goes with every technique. B rows, J answers a row.

A preference loss is one more class: its rows carry two answers and what the reference model thinks
of them, which `rows` can compute, because it sees the session before the first step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch

from luthier.engine import Session
from luthier.models.model import Model
from luthier.records import Example
from luthier.training.rows import TrainRow, rows_for


class Objective:
    """The contract. A subclass sets `name` and implements `loss`."""

    name: ClassVar[str]

    def rows(
        self, model: Model, session: Session, examples: Sequence[Example], *, virtual_tokens: int
    ) -> list[TrainRow]:
        """One row for each example, with as many answers as `loss` compares.

        Rows leave space for `virtual_tokens`. By default each has one answer, the target.
        """
        return rows_for(model, session, examples, virtual_tokens=virtual_tokens)

    def loss(self, rows: Sequence[TrainRow], logprobs: torch.Tensor) -> torch.Tensor:
        """The scalar to minimise. `logprobs` (B, J) are the natural log-probabilities of the rows'
        answers, summed over their tokens; gradients flow back through them."""
        raise NotImplementedError

    def dev_score(self, rows: Sequence[TrainRow], logprobs: torch.Tensor) -> float:
        """How good the log-probabilities of all dev rows are, the higher the better.

        It is used for tasks without labels. By default it is minus the loss.
        """
        return -float(self.loss(rows, logprobs))


class LanguageModelLoss(Objective):
    """The mean negative log-likelihood of the answers' tokens, in nats a token:

    L = −Σ_b log p(y_b | x_b) / Σ_b |y_b|, with x_b the prompt and y_b the answer of row b.
    """

    name: ClassVar[str] = "language-model"

    def loss(self, rows: Sequence[TrainRow], logprobs: torch.Tensor) -> torch.Tensor:
        """The loss, a scalar."""
        return -logprobs.sum() / max(1, sum(len(answer) for r in rows for answer in r.answers))
