"""Many soft prompts over one frozen decoder, a forward pass for all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch

from luthier.engine import Session, autocast, token_rows
from luthier.models.model import Model
from luthier.records import Example
from luthier.training.dev_eval import label_requests, label_score
from luthier.training.parameters import FROZEN_BASE, SoftPromptParameters, State
from luthier.training.prompt_tuning.strategies import AfterInput, BeforeInput, Ids, Strategy
from luthier.training.rows import TrainRow, rows_for

TOKENS_A_BATCH = 3072  # more is slower on a CPU: larger activations are mapped anew each time
LOGITS_A_BATCH = 48_000_000  # elements: 192 MB of float32


class SoftTrials:
    """`trial_parameter_sets`: the parameters of each trial. `placement` as in `VirtualTokens`."""

    together = True
    factor = FROZEN_BASE

    def __init__(
        self,
        session: Session,
        trial_parameter_sets: Sequence[SoftPromptParameters],
        *,
        placement: str,
    ) -> None:
        self.session, self.trial_parameter_sets, self.placement = (
            session,
            trial_parameter_sets,
            placement,
        )
        self.room = max(len(h.tokens) for h in trial_parameter_sets)
        self._way: Strategy | None = None

    def ready(self, rows: Sequence[TrainRow]) -> None:
        """Find what the rows share."""
        self._way = self._make_way([r.prompt for r in rows])

    @property
    def strategy(self) -> Strategy:
        """How training rows are computed; there once `ready` was called."""
        assert self._way is not None
        return self._way

    def parameters(self, trial: int) -> list[torch.nn.Parameter]:
        """Tokens, and the bottleneck if there is one."""
        return self.trial_parameter_sets[trial].parameters()

    def state(self, trial: int) -> State:
        """A copy of them."""
        return self.trial_parameter_sets[trial].state()

    def load(self, trial: int, state: Mapping[str, torch.Tensor]) -> None:
        """Put them back."""
        self.trial_parameter_sets[trial].load(state)

    def losses(self, rows: Sequence[TrainRow], live: Sequence[int]) -> list[torch.Tensor]:
        """One forward pass for all live trials."""
        softs = [self.trial_parameter_sets[k].soft()[0] for k in live]
        answers = [[r.answer] for r in rows]
        with autocast(self.session.device, self.session.dtype):
            found = self.strategy.likelihoods(softs, [r.prompt for r in rows], answers)[:, :, 0]
        counted = sum(len(r.answer) for r in rows)
        return list(-found.sum(0) / counted)

    def cost(self, rows: Sequence[TrainRow], live: Sequence[int]) -> int:
        """Inputs that are not held yet once, and what moves for each trial, forward and back."""
        prompts, answers = [r.prompt for r in rows], [[r.answer] for r in rows]
        moving = sum(
            self.strategy.moving(len(self.trial_parameter_sets[k].tokens), prompts, answers)
            for k in live
        )
        return self.strategy.standing(prompts) + FROZEN_BASE * moving

    def standing(self, rows: Sequence[TrainRow]) -> int:
        """Inputs that are not held yet."""
        return self.strategy.standing([r.prompt for r in rows])

    def replay(self, rows: Sequence[TrainRow]) -> None:
        """Hold again the inputs that this step held."""
        self.strategy.hold([r.prompt for r in rows])

    def dev_evaluator(
        self, model: Model, examples: Sequence[Example]
    ) -> Callable[[Sequence[int]], tuple[list[float], int]]:
        """All trials over the same inputs, which are held between looks as in training."""
        right: torch.Tensor | None = None
        if model.adaptation.decoding.labels:
            requests, right = label_requests(model, examples)
            # As the scorer cuts them: with room for the virtual tokens.
            like = torch.zeros(1, self.room, self.trial_parameter_sets[0].tokens.shape[1])
            rows = token_rows(replace(self.session, soft=like), requests)
            prompts = [list(r.prefix) for r in rows]
            answers = [[list(b) for b in r.continuations] for r in rows]
        else:
            plain = rows_for(model, self.session, examples, room=self.room)
            prompts, answers = [r.prompt for r in plain], [[r.answer] for r in plain]
        strategy = self._make_way(prompts)
        counted = sum(len(a) for row in answers for a in row)
        groups = self._groups(prompts, answers)

        def evaluate_dev(live: Sequence[int]) -> tuple[list[float], int]:
            found, spent = torch.zeros(len(prompts), len(live), len(answers[0])), 0
            for members in groups:
                some, theirs = [prompts[i] for i in members], [answers[i] for i in members]
                spent += strategy.standing(some)
                spent += sum(
                    strategy.moving(len(self.trial_parameter_sets[k].tokens), some, theirs)
                    for k in live
                )
                found[members] = self._likelihoods(strategy, live, some, theirs)
            if right is None:
                return [float(found[:, n].sum()) / max(counted, 1) for n in range(len(live))], spent
            return [label_score(found[:, n], right) for n in range(len(live))], spent

        return evaluate_dev

    def _groups(self, prompts: Sequence[Ids], answers: Sequence[list[Ids]]) -> list[list[int]]:
        """Batches of like length, of any trials the same, so that a resumed fit holds the same."""
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        out, at = [], 0
        while at < len(order):
            tails = sum(len(a) for a in answers[order[at]])
            width = len(prompts[order[min(at + 31, len(order) - 1)]]) + self.room + tails
            by_logits = LOGITS_A_BATCH // ((tails + 1) * self.session.vocabulary)
            out.append(order[at : at + max(1, min(32, TOKENS_A_BATCH // width, by_logits))])
            at += len(out[-1])
        return out

    @torch.no_grad()
    def _likelihoods(
        self,
        strategy: Strategy,
        live: Sequence[int],
        prompts: Sequence[Ids],
        answers: Sequence[list[Ids]],
    ) -> torch.Tensor:
        """(B, live, J), as many trials at once as a batch of logits has room for."""
        tails = sum(len(a) for a in answers[0]) + 1
        size = max(1, LOGITS_A_BATCH // (len(prompts) * tails * self.session.vocabulary))
        out = []
        with autocast(self.session.device, self.session.dtype):
            if not live:
                strategy.hold(prompts)
                return torch.zeros(len(prompts), 0, len(answers[0]))
            for at in range(0, len(live), size):
                softs = [self.trial_parameter_sets[k].soft()[0] for k in live[at : at + size]]
                out.append(strategy.likelihoods(softs, prompts, answers).float().cpu())
        return torch.cat(out, 1)

    def _make_way(self, prompts: Sequence[Ids]) -> Strategy:
        made = AfterInput if self.placement == "after" else BeforeInput
        return made(self.session, prompts)
