"""Many soft prompts over one frozen decoder, a forward pass for all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch

from luthier.models.local.decoder_scoring import LOGITS_A_BATCH, TOKENS_A_BATCH, rows_of
from luthier.models.local.products import fast_products
from luthier.models.local.session import Session
from luthier.models.model import Model
from luthier.records import Example
from luthier.training.dev import label_requests, label_score
from luthier.training.rows import TrainRow, rows_for
from luthier.training.soft.ways import AfterInput, BeforeInput, Ids, Way
from luthier.training.trainable import FROZEN_BASE, SoftPromptParameters, State


class SoftTrials:
    """`holders`: the parameters of each trial. `placement` as in `VirtualTokens`."""

    together = True
    factor = FROZEN_BASE

    def __init__(
        self, session: Session, holders: Sequence[SoftPromptParameters], *, placement: str
    ) -> None:
        self.session, self.holders, self.placement = session, holders, placement
        self.room = max(len(h.tokens) for h in holders)
        self._way: Way | None = None

    def ready(self, rows: Sequence[TrainRow]) -> None:
        """Find what the rows share."""
        self._way = self._make_way([r.prompt for r in rows])

    @property
    def way(self) -> Way:
        """How training rows are computed; there once `ready` was called."""
        assert self._way is not None
        return self._way

    def parameters(self, trial: int) -> list[torch.nn.Parameter]:
        """Tokens, and the bottleneck if there is one."""
        return self.holders[trial].parameters()

    def state(self, trial: int) -> State:
        """A copy of them."""
        return self.holders[trial].state()

    def load(self, trial: int, state: Mapping[str, torch.Tensor]) -> None:
        """Put them back."""
        self.holders[trial].load(state)

    def losses(self, rows: Sequence[TrainRow], live: Sequence[int]) -> list[torch.Tensor]:
        """One forward pass for all live trials."""
        softs = [self.holders[k].soft()[0] for k in live]
        answers = [[r.answer] for r in rows]
        with fast_products(self.session.device, self.session.dtype):
            found = self.way.likelihoods(softs, [r.prompt for r in rows], answers)[:, :, 0]
        counted = sum(len(r.answer) for r in rows)
        return list(-found.sum(0) / counted)

    def cost(self, rows: Sequence[TrainRow], live: Sequence[int]) -> int:
        """Inputs that are not held yet once, and what moves for each trial, forward and back."""
        prompts, answers = [r.prompt for r in rows], [[r.answer] for r in rows]
        moving = sum(self.way.moving(len(self.holders[k].tokens), prompts, answers) for k in live)
        return self.way.standing(prompts) + FROZEN_BASE * moving

    def standing(self, rows: Sequence[TrainRow]) -> int:
        """Inputs that are not held yet."""
        return self.way.standing([r.prompt for r in rows])

    def replay(self, rows: Sequence[TrainRow]) -> None:
        """Hold again the inputs that this step held."""
        self.way.hold([r.prompt for r in rows])

    def look_at(
        self, model: Model, examples: Sequence[Example]
    ) -> Callable[[Sequence[int]], tuple[list[float], int]]:
        """All trials over the same inputs, which are held between looks as in training."""
        right: torch.Tensor | None = None
        if model.adaptation.decoding.labels:
            requests, right = label_requests(model, examples)
            # As the scorer cuts them: with room for the virtual tokens.
            like = torch.zeros(1, self.room, self.holders[0].tokens.shape[1])
            rows = rows_of(replace(self.session, soft=like), requests)
            prompts = [list(r.trunk) for r in rows]
            answers = [[list(b) for b in r.branches] for r in rows]
        else:
            plain = rows_for(model, self.session, examples, room=self.room)
            prompts, answers = [r.prompt for r in plain], [[r.answer] for r in plain]
        way = self._make_way(prompts)
        counted = sum(len(a) for row in answers for a in row)
        groups = self._groups(prompts, answers)

        def look(live: Sequence[int]) -> tuple[list[float], int]:
            found, spent = torch.zeros(len(prompts), len(live), len(answers[0])), 0
            for members in groups:
                some, theirs = [prompts[i] for i in members], [answers[i] for i in members]
                spent += way.standing(some)
                spent += sum(way.moving(len(self.holders[k].tokens), some, theirs) for k in live)
                found[members] = self._likelihoods(way, live, some, theirs)
            if right is None:
                return [float(found[:, n].sum()) / max(counted, 1) for n in range(len(live))], spent
            return [label_score(found[:, n], right) for n in range(len(live))], spent

        return look

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
        self, way: Way, live: Sequence[int], prompts: Sequence[Ids], answers: Sequence[list[Ids]]
    ) -> torch.Tensor:
        """(B, live, J), as many trials at once as a batch of logits has room for."""
        tails = sum(len(a) for a in answers[0]) + 1
        size = max(1, LOGITS_A_BATCH // (len(prompts) * tails * self.session.vocabulary))
        out = []
        with fast_products(self.session.device, self.session.dtype):
            if not live:
                way.hold(prompts)
                return torch.zeros(len(prompts), 0, len(answers[0]))
            for at in range(0, len(live), size):
                softs = [self.holders[k].soft()[0] for k in live[at : at + size]]
                out.append(way.likelihoods(softs, prompts, answers).float().cpu())
        return torch.cat(out, 1)

    def _make_way(self, prompts: Sequence[Ids]) -> Way:
        made = AfterInput if self.placement == "after" else BeforeInput
        return made(self.session, prompts)
