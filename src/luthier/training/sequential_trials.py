"""Trials on the plain path: each row in full, one trial after the other.

For adapters and forks, which have one set of parameters in the model, and for soft prompts on
encoder–decoders. It is also the reference that the faster paths are held to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from luthier.engine import Session, autocast
from luthier.models.model import Model
from luthier.records import Example
from luthier.training.dev_eval import dev_evaluation
from luthier.training.objectives import Objective
from luthier.training.rows import TrainRow
from luthier.training.shared_prompt import row_logprobs
from luthier.training.trainable import DevEvaluation, State, TrialParameters


class SequentialTrials:
    """A `Trainable` over any base.

    **Arguments**

    - `session`: the open session.
    - `trials`: the parameters of each trial; one entry for all where they live in the model, and
      trials then take turns.
    - `cost_factor`: forward-token equivalents of one trained token.
    - `placement`: as in `VirtualTokens`, for parameters that make virtual tokens.
    """

    def __init__(
        self,
        session: Session,
        trials: Sequence[TrialParameters],
        *,
        cost_factor: int,
        placement: str = "",
    ) -> None:
        self.session, self.trials = session, trials
        self.cost_factor, self.placement = cost_factor, placement
        self.parallel = len(trials) > 1

    def prepare(self, rows: Sequence[TrainRow]) -> None:
        """Do nothing: nothing depends on the rows."""

    def session_of(self, trial: int) -> Session:
        """The session with the virtual tokens of a trial in it, if it makes any."""
        soft = self._of(trial).soft()
        if soft is None:
            return self.session
        return replace(self.session, soft=soft.detach(), placement=self.placement)

    def parameters(self, trial: int) -> list[torch.nn.Parameter]:
        """The trial's parameters."""
        return self._of(trial).parameters()

    def state(self, trial: int) -> State:
        """A copy of them."""
        return self._of(trial).state()

    def load(self, trial: int, state: Mapping[str, torch.Tensor]) -> None:
        """Put a copy back."""
        self._of(trial).load(state)

    def logprobs(self, rows: Sequence[TrainRow], trials: Sequence[int]) -> list[torch.Tensor]:
        """(B, J) for each trial, by one forward pass a trial."""
        out = []
        for k in trials:
            session = self.session_of(k)
            with autocast(session.device, session.dtype):
                out.append(row_logprobs(session, rows, self._of(k).soft()))
        return out

    def cost(self, rows: Sequence[TrainRow], trials: Sequence[int]) -> int:
        """Every token of every row, virtual ones included."""
        tokens = sum(r.tokens for r in rows)
        copies = sum(len(r.answers) for r in rows)
        return self.cost_factor * sum(tokens + self._virtual(k) * copies for k in trials)

    def one_time_cost(self, rows: Sequence[TrainRow]) -> int:
        """Zero: nothing is kept from step to step."""
        return 0

    def replay(self, rows: Sequence[TrainRow]) -> None:
        """Do nothing: nothing is kept from step to step."""

    def dev_evaluator(
        self, model: Model, examples: Sequence[Example], objective: Objective
    ) -> DevEvaluation:
        """Trial by trial, by the code that scores the test split."""
        evaluations = [
            dev_evaluation(model, lambda k=k: self.session_of(k), examples, objective)  # type: ignore[misc]
            for k in range(len(self.trials))
        ]

        def evaluate_dev(trials: Sequence[int]) -> tuple[list[float], int]:
            found = [evaluations[k if self.parallel else 0]() for k in trials]
            return [score for score, _ in found], sum(spent for _, spent in found)

        return evaluate_dev

    def _of(self, trial: int) -> TrialParameters:
        return self.trials[trial if self.parallel else 0]

    def _virtual(self, trial: int) -> int:
        soft = self.session_of(trial).soft
        return 0 if soft is None else int(soft.shape[1])
