"""Trials on the plain path: each row in full, one trial after the other.

For adapters and forks, which have one set of parameters in the model, and for soft prompts on
encoder–decoders. It is also the reference that the faster ways are held to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch

from luthier.engine import Session, autocast
from luthier.models.model import Model
from luthier.records import Example
from luthier.training.dev_eval import dev_evaluation
from luthier.training.parameters import State, TrialParameters
from luthier.training.rows import TrainRow, batch_of, loss_of


class SequentialTrials:
    """`trial_parameter_sets`: the parameters of each trial; one holder for all where they live in the model
    (then trials take turns). `factor`: forward-token equivalents of one trained token."""

    def __init__(
        self,
        session: Session,
        trial_parameter_sets: Sequence[TrialParameters],
        *,
        factor: int,
        placement: str = "",
    ) -> None:
        self.trial_parameter_sets, self.factor = trial_parameter_sets, factor
        self.placement = placement
        self.together = len(trial_parameter_sets) > 1
        self._session = session

    def ready(self, rows: Sequence[TrainRow]) -> None:
        """Nothing depends on the rows."""

    def session(self, trial: int) -> Session:
        """The session with the virtual tokens of a trial in it, if it makes any."""
        soft = self._holder(trial).soft()
        if soft is None:
            return self._session
        return replace(self._session, soft=soft.detach(), placement=self.placement)

    def parameters(self, trial: int) -> list[torch.nn.Parameter]:
        """The holder's."""
        return self._holder(trial).parameters()

    def state(self, trial: int) -> State:
        """The holder's."""
        return self._holder(trial).state()

    def load(self, trial: int, state: Mapping[str, torch.Tensor]) -> None:
        """Into the holder."""
        self._holder(trial).load(state)

    def losses(self, rows: Sequence[TrainRow], live: Sequence[int]) -> list[torch.Tensor]:
        """One forward pass a trial."""
        out = []
        for k in live:
            session = self.session(k)
            with autocast(session.device, session.dtype):
                out.append(loss_of(session, batch_of(session, rows), self._holder(k).soft()))
        return out

    def cost(self, rows: Sequence[TrainRow], live: Sequence[int]) -> int:
        """Every token of every row, virtual ones included."""
        tokens = sum(len(r.ids) for r in rows)
        return self.factor * sum(tokens + self._virtual(k) * len(rows) for k in live)

    def standing(self, rows: Sequence[TrainRow]) -> int:
        """Nothing is kept from step to step."""
        return 0

    def replay(self, rows: Sequence[TrainRow]) -> None:
        """Nothing to bring back."""

    def dev_evaluator(
        self, model: Model, examples: Sequence[Example]
    ) -> Callable[[Sequence[int]], tuple[list[float], int]]:
        """Trial by trial, by the scoring code that judges the test split."""
        evaluations = [
            dev_evaluation(model, lambda k=k: self.session(k), examples)  # type: ignore[misc]
            for k in range(len(self.trial_parameter_sets))
        ]

        def evaluate_dev(live: Sequence[int]) -> tuple[list[float], int]:
            found = [evaluations[k if self.together else 0]() for k in live]
            return [score for score, _ in found], sum(spent for _, spent in found)

        return evaluate_dev

    def _holder(self, trial: int) -> TrialParameters:
        return self.trial_parameter_sets[trial if self.together else 0]

    def _virtual(self, trial: int) -> int:
        soft = self.session(trial).soft
        return 0 if soft is None else int(soft.shape[1])
