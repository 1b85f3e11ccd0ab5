"""What a model is trained for, apart from which of its parameters train.

An objective says which rows it reads and turns the log-probabilities of their answers into a loss.
Whatever trains (an adapter, a soft prompt, all weights: see `training.trainable`) computes these
log-probabilities, so that every objective goes with every technique. B rows, J answers a row.

The rows of a preference loss carry two answers and what the reference model thinks of them, which
`ready` computes, because it sees the session before the first step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch

from luthier.engine import Session
from luthier.models.model import Model
from luthier.records import Example
from luthier.training.picture_rows import picture_rows
from luthier.training.preference_rows import (
    PreferenceRow,
    kto_rows,
    preference_rows,
    reference_logprobs,
)
from luthier.training.rows import TrainRow, rows_for
from luthier.training.shared_prompt import computed_tokens


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

    def ready(self, session: Session, rows: Sequence[TrainRow]) -> list[TrainRow]:
        """The rows with what `loss` needs of the model as it stands: as they are by default."""
        return list(rows)

    def preparation_tokens(self, rows: Sequence[TrainRow]) -> int:
        """Forward-token equivalents that `ready` takes: none by default."""
        return 0

    def loss(self, rows: Sequence[TrainRow], logprobs: torch.Tensor) -> torch.Tensor:
        """The scalar to minimise. `logprobs` (B, J) are the natural log-probabilities of the rows'
        answers, summed over their tokens; gradients flow back through them."""
        raise NotImplementedError

    def dev_score(self, rows: Sequence[TrainRow], logprobs: torch.Tensor) -> float:
        """How good the log-probabilities of all dev rows are, the higher the better.

        It is used for tasks without labels. By default it is minus the loss.
        """
        return -float(self.loss(rows, logprobs))


class PreferenceLoss(Objective):
    """What DPO and KTO share: each row is read once by the reference, the model as it stands."""

    def ready(self, session: Session, rows: Sequence[TrainRow]) -> list[TrainRow]:
        """The rows with the reference's log-probabilities."""
        return list(reference_logprobs(session, [r for r in rows if isinstance(r, PreferenceRow)]))

    def preparation_tokens(self, rows: Sequence[TrainRow]) -> int:
        """The reference reads every row once."""
        return sum(computed_tokens(row) for row in rows)


class LanguageModelLoss(Objective):
    """The mean negative log-likelihood of the answers' tokens, in nats a token:

    L = −Σ_b log p(y_b | x_b) / Σ_b |y_b|, with x_b the prompt and y_b the answer of row b.
    """

    name: ClassVar[str] = "language-model"

    def loss(self, rows: Sequence[TrainRow], logprobs: torch.Tensor) -> torch.Tensor:
        """The loss, a scalar."""
        return -logprobs.sum() / max(1, sum(len(answer) for r in rows for answer in r.answers))


class DPOLoss(PreferenceLoss):
    """Direct preference optimisation (Rafailov et al. 2023, arXiv:2305.18290, equation 7):

    L = −mean_b log σ(β [log π(y⁺)/π_ref(y⁺) − log π(y⁻)/π_ref(y⁻)]), J = 2: y⁺, then y⁻.

    The reference π_ref is the model as it stands before the first step.
    """

    name: ClassVar[str] = "dpo"

    def __init__(self, *, beta: float) -> None:
        self.beta = beta

    def rows(
        self, model: Model, session: Session, examples: Sequence[Example], *, virtual_tokens: int
    ) -> list[TrainRow]:
        """One row for each example that has a target and a rejected answer."""
        return list(preference_rows(model, session, examples, virtual_tokens=virtual_tokens))

    def loss(self, rows: Sequence[TrainRow], logprobs: torch.Tensor) -> torch.Tensor:
        """The loss, a scalar."""
        gains = logprobs - _references(rows, logprobs)
        return -torch.nn.functional.logsigmoid(self.beta * (gains[:, 0] - gains[:, 1])).mean()


class KTOLoss(PreferenceLoss):
    """Kahneman–Tversky optimisation (Ethayarajh et al. 2024, arXiv:2402.01306, equation 7), from
    answers that are good or bad, each for itself. With g = log π(y)/π_ref(y):

    L = mean_b 1 − σ(β (g − z)) where y is good, 1 − σ(β (z − g)) where it is bad, weighted;
    z = max(0, mean_b g') with g' that of another prompt's answer to this prompt. J = 2: y, then it.
    """

    name: ClassVar[str] = "kto"

    def __init__(
        self, *, beta: float, desirable_weight: float = 1.0, undesirable_weight: float = 1.0
    ) -> None:
        self.beta = beta
        self.weights = (undesirable_weight, desirable_weight)

    def rows(
        self, model: Model, session: Session, examples: Sequence[Example], *, virtual_tokens: int
    ) -> list[TrainRow]:
        """A row for each target and for each rejected answer, beside the answer of the next one."""
        return list(kto_rows(model, session, examples, virtual_tokens=virtual_tokens))

    def loss(self, rows: Sequence[TrainRow], logprobs: torch.Tensor) -> torch.Tensor:
        """The loss, a scalar."""
        gains = logprobs - _references(rows, logprobs)
        baseline = gains[:, 1].detach().mean().clamp(min=0)
        good = torch.tensor(
            [isinstance(row, PreferenceRow) and row.good for row in rows], device=logprobs.device
        )
        sign = torch.where(good, 1.0, -1.0)
        weight = torch.where(good, self.weights[1], self.weights[0])
        return (weight * (1 - torch.sigmoid(self.beta * sign * (gains[:, 0] - baseline)))).mean()


class DenoisingLoss(Objective):
    """The weighted squared error of a denoiser's prediction (Ho et al. 2020, arXiv:2006.11239,
    equation 14), for whichever of ε, v and x₀ the scheduler says that it predicts:

    L = mean_b w(t_b) ‖ŷ(x_t, t, c) − y‖² / d, x_t = √ᾱ x₀ + √(1 − ᾱ) ε, y = ε, v or x₀.

    w is 1; with a `snr_limit` γ it is min-SNR (Hang et al. 2023, arXiv:2303.09556, section 3.4),
    with SNR = ᾱ / (1 − ᾱ): the weight of x₀'s error is min(SNR, γ), and times of much noise, in
    which a new thing takes shape, hardly count. `empty` is the share of captions that are left out,
    so that guidance keeps its other branch (Ho and Salimans 2022, arXiv:2207.12598).
    """

    name: ClassVar[str] = "denoising"

    def __init__(self, *, snr_limit: float | None = None, empty: float = 0.1) -> None:
        self.snr_limit, self.empty = snr_limit, empty
        self._rows: dict[tuple[str, ...], list[TrainRow]] = {}

    def rows(
        self, model: Model, session: Any, examples: Sequence[Example], *, virtual_tokens: int
    ) -> list[TrainRow]:
        """One row for each example that comes with a picture; each is encoded once."""
        key = tuple(example.id for example in examples)
        if key not in self._rows:
            self._rows[key] = picture_rows(model, session, examples)
        return self._rows[key]

    def weight(self, snr: torch.Tensor, prediction: str) -> torch.Tensor:
        """w (B,) for the error of what is predicted: x₀'s weight over SNR for ε, over SNR + 1 for
        v; 1 without a limit."""
        if self.snr_limit is None:
            return torch.ones_like(snr)
        over = {"epsilon": snr, "v_prediction": snr + 1, "sample": torch.ones_like(snr)}
        return snr.clamp(max=self.snr_limit) / over[prediction].clamp(min=1e-8)

    def loss(self, rows: Sequence[TrainRow], logprobs: torch.Tensor) -> torch.Tensor:
        """The loss, a scalar: `logprobs` (B, 1) are minus the weighted errors."""
        return -logprobs.mean()


def _references(rows: Sequence[TrainRow], logprobs: torch.Tensor) -> torch.Tensor:
    known = [row.reference for row in rows if isinstance(row, PreferenceRow)]
    return torch.tensor(known, device=logprobs.device, dtype=logprobs.dtype)
