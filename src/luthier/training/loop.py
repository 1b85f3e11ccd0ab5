"""The one training loop: tokens in, tokens counted, a dev score at every look.

A fit is a list of segments. First one trial for each learning rate: same start, same few tokens,
constant rate. Then the best trial goes on to the end of the budget with a linear decay; the state
with the best dev score is kept, and the fit ends early when `patience` looks in a row bring
nothing better. Everything is a function of seed and tokens, never of the clock.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from luthier.ledger.work import report
from luthier.models.local.session import Session
from luthier.training.checkpoint import Checkpoint, load_optimiser, optimiser_state
from luthier.training.precision import mixed_precision
from luthier.training.rows import TrainRow, batch_of, batches, loss_of
from luthier.training.trainable import Trainable

Look = Callable[[], tuple[float, int]]  # dev score (higher is better), and the tokens it took
State = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Schedule:
    """How to spend a fit's tokens. `factor` is the forward-token equivalents of one trained
    token."""

    tokens: int
    factor: int
    learning_rates: tuple[float, ...]
    batch_size: int = 16
    search_share: float = 0.3
    looks: int = 5
    patience: int = 3
    warmup_steps: int = 5
    weight_decay: float = 0.0


@dataclass(slots=True)
class Progress:
    """Where a fit stands: plain numbers only, so that a checkpoint can hold them."""

    segment: int = 0
    step: int = 0  # within the segment
    spent: int = 0  # within the segment, forward-token equivalents
    looks: int = 0
    stale: int = 0
    best_score: float = -math.inf
    winner: int = 0
    winner_score: float = -math.inf
    total_spent: int = 0
    total_steps: int = 0
    allotted: int = 0  # to the segment
    look_tokens: int = 0  # what the last look at dev took
    stopped_early: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)


class Fit:
    """One fit of one trainable. `run` leaves it in its best state."""

    def __init__(
        self, session: Session, trainable: Trainable, *, rows: Sequence[TrainRow],
        look: Look, schedule: Schedule, seed: int,
    ) -> None:  # fmt: skip
        self.session, self.trainable, self.look = session, trainable, look
        self.rows, self.schedule, self.seed = rows, schedule, seed
        self.first = trainable.state()
        self.best: State = self.first
        self.winner: State = self.first
        self.winner_optimiser: State = {}
        self.at = Progress()
        self.checkpoint = Checkpoint.here()

    @property
    def learning_rate(self) -> float:
        """The one that won."""
        return self.schedule.learning_rates[self.at.winner]

    def run(self) -> Progress:
        """All segments, from the start or from where a killed process left off."""
        rates = self.schedule.learning_rates
        trials = len(rates) if len(rates) > 1 else 0
        share = int(self.schedule.tokens * self.schedule.search_share / max(trials, 1))
        resumed = self._resume()
        while self.at.segment <= trials:
            final = self.at.segment == trials
            rate = self.learning_rate if final else rates[self.at.segment]
            if resumed is None:
                self.at.allotted = self.schedule.tokens - self.at.total_spent if final else share
            self._segment(rate, resumed, decay=final)
            resumed = None
            self.at.segment += 1
            self.at.step = self.at.spent = self.at.looks = self.at.stale = 0
        self.trainable.load(self.best)
        if self.checkpoint:
            self.checkpoint.drop()
        return self.at

    def _segment(self, rate: float, resumed: State | None, *, decay: bool) -> None:
        optimiser = torch.optim.AdamW(
            self.trainable.parameters(), lr=rate, weight_decay=self.schedule.weight_decay
        )
        at = self.at
        if resumed is not None:
            load_optimiser(optimiser, resumed)
        elif decay:
            self.trainable.load(self.winner)
            load_optimiser(optimiser, self.winner_optimiser)
            at.best_score, self.best = at.winner_score, self.winner
        else:
            self.trainable.load(self.first)
        source = batches(self.rows, size=self.schedule.batch_size, seed=self.seed, first=at.step)
        looks = self.schedule.looks if decay else 1
        losses: list[float] = []
        while True:
            rows = next(source)
            cost = sum(len(row.ids) for row in rows) * self.schedule.factor
            # What a step and the look after it would overspend is not begun.
            if at.spent + cost + at.look_tokens > at.allotted:
                break
            scale = 1.0 - at.spent / at.allotted if decay else 1.0
            if not (decay and self.winner_optimiser):
                scale *= min(1.0, (at.step + 1) / self.schedule.warmup_steps)
            losses.append(self._step(rows, optimiser, rate * scale))
            at.step, at.total_steps = at.step + 1, at.total_steps + 1
            at.spent, at.total_spent = at.spent + cost, at.total_spent + cost
            report(at.total_spent, self.schedule.tokens, f"loss {losses[-1]:.2f}")
            if at.spent >= at.allotted * (at.looks + 1) / looks:
                if self._look(rate, losses, optimiser, decay=decay):
                    return
                losses = []
            if self.checkpoint and self.checkpoint.due:
                self._save(optimiser)
        if losses or not at.history:
            self._look(rate, losses, optimiser, decay=decay)

    def _step(
        self, rows: Sequence[TrainRow], optimiser: torch.optim.Optimizer, rate: float
    ) -> float:
        for group in optimiser.param_groups:
            group["lr"] = rate
        batch = batch_of(self.session, rows)
        with mixed_precision(self.session.device, self.session.dtype):
            loss = loss_of(self.session, batch, self.trainable.soft())
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.trainable.parameters(), 1.0)
        optimiser.step()
        return float(loss.detach())

    def _look(self, rate: float, losses: list[float], optimiser: Any, *, decay: bool) -> bool:
        """Measure on dev; True when the fit should end early."""
        score, cost = self.look()
        at = self.at
        at.spent, at.total_spent, at.look_tokens = at.spent + cost, at.total_spent + cost, cost
        at.looks += 1
        at.history.append(
            {
                "stage": "train" if decay else "search",
                "learning_rate": rate,
                "step": at.total_steps,
                "spent_tokens": at.total_spent,
                "train_loss": sum(losses) / len(losses) if losses else None,
                "dev_score": score,
            }
        )
        if not math.isfinite(score):
            score = -math.inf
        if not decay:
            if score > at.winner_score or not self.winner_optimiser:
                at.winner, at.winner_score = at.segment, score
                self.winner = self.trainable.state()
                self.winner_optimiser = optimiser_state(optimiser)
            return False
        if score > at.best_score:
            at.best_score, at.stale, self.best = score, 0, self.trainable.state()
            return False
        at.stale += 1
        at.stopped_early = at.stale >= self.schedule.patience
        return at.stopped_early

    def _save(self, optimiser: torch.optim.Optimizer) -> None:
        assert self.checkpoint is not None
        groups = {
            "now": self.trainable.state(),
            "optimiser": optimiser_state(optimiser),
            "best": self.best,
            "winner": self.winner,
            "winner_optimiser": self.winner_optimiser,
        }
        numbers = {**dataclasses.asdict(self.at), "seed": self.seed}
        self.checkpoint.write(numbers, groups)

    def _resume(self) -> State | None:
        """The optimiser's state of a killed fit, everything else put back; None for a fresh
        start."""
        found = self.checkpoint.read() if self.checkpoint else None
        if found is None or found[0].pop("seed") != self.seed:
            return None
        numbers, groups = found
        self.at = Progress(**numbers)
        self.trainable.load(groups["now"])
        self.best, self.winner = groups["best"], groups["winner"]
        self.winner_optimiser = groups.get("winner_optimiser", {})
        return groups["optimiser"]
