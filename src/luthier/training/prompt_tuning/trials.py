"""Many soft prompts over one frozen decoder, a forward pass for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from luthier.engine import Session, autocast, token_rows
from luthier.models.alternatives import told_apart
from luthier.models.model import Model
from luthier.records import Example
from luthier.training.dev_eval import label_requests, label_score
from luthier.training.objectives import Objective
from luthier.training.parameters import SoftPromptParameters
from luthier.training.prompt_tuning.strategies import Ids, SoftPrefix, SoftSuffix, Strategy
from luthier.training.rows import TrainRow
from luthier.training.trainable import FROZEN_BASE, DevEvaluation, State

ROWS_PER_BATCH = 32  # of a dev evaluation, at most

TOKENS_A_BATCH = 3072  # more is slower on a CPU: larger activations are mapped anew each time
LOGITS_A_BATCH = 48_000_000  # elements: 192 MB of float32


def _apart(logprobs: torch.Tensor, answers: Sequence[Sequence[Ids]]) -> torch.Tensor:
    """(N, labels) log-probabilities of labels that end, from those of their tokens."""
    rows = [
        told_apart(row, [False] * len(row), labels)[0]
        for row, labels in zip(logprobs.tolist(), answers, strict=True)
    ]
    return torch.tensor(rows)


class SoftTrials:
    """A `Trainable` whose trials share one forward pass.

    **Arguments**

    - `session`: the open session, over a decoder.
    - `trials`: the virtual tokens of each trial.
    - `placement`: where they stand, as in `VirtualTokens`.
    """

    parallel = True
    cost_factor = FROZEN_BASE

    def __init__(
        self, session: Session, trials: Sequence[SoftPromptParameters], *, placement: str
    ) -> None:
        self.session, self.trials, self.placement = session, trials, placement
        self.virtual_tokens = max(len(trial.tokens) for trial in trials)
        self._strategy: Strategy | None = None

    def prepare(self, rows: Sequence[TrainRow]) -> None:
        """Find what the rows share."""
        self._strategy = self._strategy_for([r.prompt for r in rows])

    @property
    def strategy(self) -> Strategy:
        """How training rows are computed; there once `prepare` was called."""
        assert self._strategy is not None
        return self._strategy

    def parameters(self, trial: int) -> list[torch.nn.Parameter]:
        """The tokens of a trial, and its bottleneck if there is one."""
        return self.trials[trial].parameters()

    def state(self, trial: int) -> State:
        """A copy of them."""
        return self.trials[trial].state()

    def load(self, trial: int, state: Mapping[str, torch.Tensor]) -> None:
        """Put them back."""
        self.trials[trial].load(state)

    def logprobs(self, rows: Sequence[TrainRow], trials: Sequence[int]) -> list[torch.Tensor]:
        """(B, J) for each trial, by one forward pass for all of them."""
        softs = [self.trials[k].soft()[0] for k in trials]
        prompts, answers = [r.prompt for r in rows], [list(r.answers) for r in rows]
        with autocast(self.session.device, self.session.dtype):
            found = self.strategy.logprobs(softs, prompts, answers)
        return list(found.unbind(1))

    def cost(self, rows: Sequence[TrainRow], trials: Sequence[int]) -> int:
        """The inputs that are not cached yet, once, and what each step computes for each trial,
        forward and back."""
        prompts, answers = [r.prompt for r in rows], [list(r.answers) for r in rows]
        step = sum(
            self.strategy.step_cost(len(self.trials[k].tokens), prompts, answers) for k in trials
        )
        return self.strategy.one_time_cost(prompts) + FROZEN_BASE * step

    def one_time_cost(self, rows: Sequence[TrainRow]) -> int:
        """The tokens of inputs that are not cached yet."""
        return self.strategy.one_time_cost([r.prompt for r in rows])

    def replay(self, rows: Sequence[TrainRow]) -> None:
        """Cache again the inputs that this step cached."""
        self.strategy.fill_cache([r.prompt for r in rows])

    def dev_evaluator(
        self, model: Model, examples: Sequence[Example], objective: Objective
    ) -> DevEvaluation:
        """All trials over the same inputs, which stay cached between evaluations."""
        right: torch.Tensor | None = None
        dev_rows: list[TrainRow] = []
        if model.adaptation.decoding.labels:
            requests, right = label_requests(model, examples)
            # Cut as the scorer cuts them: with space for the virtual tokens.
            like = torch.zeros(1, self.virtual_tokens, self.trials[0].tokens.shape[1])
            rows = token_rows(replace(self.session, soft=like), requests)
            prompts = [list(r.prefix) for r in rows]
            answers = [[list(b) for b in r.continuations] for r in rows]
        else:
            dev_rows = objective.rows(
                model, self.session, examples, virtual_tokens=self.virtual_tokens
            )
            dev_rows = objective.ready(self.session, dev_rows)
            prompts, answers = [r.prompt for r in dev_rows], [list(r.answers) for r in dev_rows]
        strategy = self._strategy_for(prompts)
        batches = self._batches(prompts, answers)

        def evaluate_dev(trials: Sequence[int]) -> tuple[list[float], int]:
            found, spent = torch.zeros(len(prompts), len(trials), len(answers[0])), 0
            for batch in batches:
                some, theirs = [prompts[i] for i in batch], [answers[i] for i in batch]
                spent += strategy.one_time_cost(some)
                spent += sum(
                    strategy.step_cost(len(self.trials[k].tokens), some, theirs) for k in trials
                )
                found[batch] = self._logprobs(strategy, trials, some, theirs)
            each = found.unbind(1)
            if right is None:
                return [objective.dev_score(dev_rows, logprobs) for logprobs in each], spent
            return [label_score(_apart(logprobs, answers), right) for logprobs in each], spent

        return evaluate_dev

    def _batches(self, prompts: Sequence[Ids], answers: Sequence[list[Ids]]) -> list[list[int]]:
        """Batches of rows of like length, the same for any trials, so that a resumed fit caches the
        same inputs."""
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        out, first = [], 0
        while first < len(order):
            tails = sum(len(a) for a in answers[order[first]])
            longest = len(prompts[order[min(first + ROWS_PER_BATCH, len(order)) - 1]])
            by_tokens = TOKENS_A_BATCH // (longest + self.virtual_tokens + tails)
            by_logits = LOGITS_A_BATCH // ((tails + 1) * self.session.vocabulary)
            out.append(order[first : first + max(1, min(ROWS_PER_BATCH, by_tokens, by_logits))])
            first += len(out[-1])
        return out

    @torch.no_grad()
    def _logprobs(
        self,
        strategy: Strategy,
        trials: Sequence[int],
        prompts: Sequence[Ids],
        answers: Sequence[list[Ids]],
    ) -> torch.Tensor:
        """(B, trials, J), as many trials at once as a batch of logits has space for."""
        tails = sum(len(a) for a in answers[0]) + 1
        size = max(1, LOGITS_A_BATCH // (len(prompts) * tails * self.session.vocabulary))
        out = []
        with autocast(self.session.device, self.session.dtype):
            if not trials:
                strategy.fill_cache(prompts)
                return torch.zeros(len(prompts), 0, len(answers[0]))
            for first in range(0, len(trials), size):
                softs = [self.trials[k].soft()[0] for k in trials[first : first + size]]
                out.append(strategy.logprobs(softs, prompts, answers).float().cpu())
        return torch.cat(out, 1)

    def _strategy_for(self, prompts: Sequence[Ids]) -> Strategy:
        made = SoftSuffix if self.placement == "after" else SoftPrefix
        return made(self.session, prompts)
