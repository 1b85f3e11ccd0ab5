"""The two contracts of what is trained: trials that the loop steps, and the parameters of one.

A fit trains several trials of one kind (learning rates, mostly), numbered from 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch

from luthier.models.model import Model
from luthier.records import Example
from luthier.training.objectives import Objective
from luthier.training.rows import TrainRow

State = dict[str, torch.Tensor]
# Dev scores (the higher the better) of the trials asked for, and the tokens that took.
DevEvaluation = Callable[[Sequence[int]], tuple[list[float], int]]
FROZEN_BASE = 2  # forward-token equivalents of a trained token: forward, back through activations
TRAINED_WEIGHTS = 3  # and back to the weights


class Trainable(Protocol):
    """Trials over one open session.

    **Attributes**

    - `session`: the base, with all that does not train: a `Session`, or of pictures a
      `PictureSession`.
    - `parallel`: whether several trials can train at once; else they take turns.
    - `cost_factor`: forward-token equivalents of one trained token.
    """

    session: Any
    parallel: bool
    cost_factor: int

    def prepare(self, rows: Sequence[TrainRow]) -> None:
        """See all rows before the first step."""
        ...

    def parameters(self, trial: int) -> list[torch.nn.Parameter]:
        """What the optimiser steps."""
        ...

    def state(self, trial: int) -> State:
        """A copy of a trial's parameters."""
        ...

    def load(self, trial: int, state: Mapping[str, torch.Tensor]) -> None:
        """Put a state back."""
        ...

    def logprobs(self, rows: Sequence[TrainRow], trials: Sequence[int]) -> list[torch.Tensor]:
        """For each trial the natural log-probabilities of the rows' answers, summed over their
        tokens: (B, J) for B rows of J answers, with gradients."""
        ...

    def cost(self, rows: Sequence[TrainRow], trials: Sequence[int]) -> int:
        """What this step would spend, in forward-token equivalents."""
        ...

    def one_time_cost(self, rows: Sequence[TrainRow]) -> int:
        """The part of `cost` that is paid once for these rows and not at every step."""
        ...

    def replay(self, rows: Sequence[TrainRow]) -> None:
        """Bring back what a step of a resumed fit, done before, left in caches for later ones."""
        ...

    def dev_evaluator(
        self, model: Model, examples: Sequence[Example], objective: Objective
    ) -> DevEvaluation:
        """A function that scores trials on dev examples and says what that spent."""
        ...


class TrialParameters(Protocol):
    """The parameters of one trial, the soft prompt they make (if they make one), their state."""

    def parameters(self) -> list[torch.nn.Parameter]:
        """What the optimiser steps."""
        ...

    def soft(self) -> torch.Tensor | None:
        """The (1, P, H) virtual tokens as a function of the parameters; None for other methods."""
        ...

    def state(self) -> State:
        """A copy of all parameters."""
        ...

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Put a state back."""
        ...
