"""The one training loop: tokens in, tokens counted, a dev score at every look.

A fit has candidates (learning rates, mostly), each of one trial or of several that stay together.
First a search by successive halving (Jamieson and Talwalkar 2016, arXiv:1502.07943): candidates
that can train in one pass do so, and after every rung the better half goes on; those that cannot
get one turn each. Then the winner goes on to the end of the budget with a linear decay. Of every
trial the state with the best dev score is kept, and it ends early when `patience` looks in a row
bring nothing better. Everything is a function of seed and tokens, never of the clock.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import mean

import torch

from luthier.context import report_progress
from luthier.records import FitStep
from luthier.training.checkpoint import Checkpoint, load_optimiser, optimiser_state
from luthier.training.parameters import State, Trainable
from luthier.training.rows import TrainRow, batches

# Dev scores (higher is better) of the trials asked for, and the tokens that took.
DevEvaluation = Callable[[Sequence[int]], tuple[list[float], int]]
WARM_STEPS = 5
WARM_SHARE = 0.15  # of the tokens; what a start knows (demonstrations) must outlive the first steps
PATIENCE = 3
SEARCH_SHARE = 0.3  # of the tokens, where there are several candidates


@dataclass(frozen=True, slots=True)
class Schedule:
    """How to spend a fit's tokens. `candidates`: for each, the learning rates of its trials; the
    trials are numbered through."""

    tokens: int
    candidates: tuple[tuple[float, ...], ...]
    batch_size: int = 16
    search_share: float = SEARCH_SHARE
    evaluations: int = 5
    weight_decay: float = 0.0

    @property
    def rates(self) -> list[float]:
        """Of every trial."""
        return [rate for candidate in self.candidates for rate in candidate]

    def trials(self, candidate: int) -> list[int]:
        """The numbers of a candidate's trials."""
        first = sum(len(c) for c in self.candidates[:candidate])
        return list(range(first, first + len(self.candidates[candidate])))


@dataclass(slots=True)
class LoopState:
    """Where a fit stands, in what JSON can hold, so that a checkpoint can keep it."""

    segment: int = 0
    step: int = 0  # within the segment
    spent: int = 0  # within the segment, forward-token equivalents
    evaluations: int = 0
    allotted: int = 0  # to the segment
    live: list[int] = field(default_factory=list)  # trials
    pool: list[int] = field(default_factory=list)  # candidates still in
    scores: list[float] = field(default_factory=list)  # of the candidates
    best: list[float] = field(default_factory=list)  # of the trials
    stale: list[int] = field(default_factory=list)
    past_steps: list[int] = field(default_factory=list)  # of the segments before
    total_spent: int = 0
    total_steps: int = 0
    evaluation_tokens: int = 0  # what the last look at dev took
    losses: list[list[float]] = field(default_factory=list)  # of each trial since that look
    history: list[FitStep] = field(default_factory=list)


class TrainingLoop:
    """One fit. `run` leaves the winner's trials in their best states."""

    def __init__(
        self, trainable: Trainable, *, rows: Sequence[TrainRow], evaluate_dev: DevEvaluation, schedule: Schedule,
        seed: int,
    ) -> None:  # fmt: skip
        self.trainable, self.evaluate_dev, self.rows = trainable, evaluate_dev, rows
        self.schedule, self.seed = schedule, seed
        self.first = {k: trainable.state(k) for k in range(len(schedule.rates))}
        self.kept: dict[int, State] = {}  # where each trial is best, or left off
        self.kept_optimiser: dict[int, State] = {}
        self.optimisers: dict[int, torch.optim.Optimizer] = {}
        self.checkpoint = Checkpoint.here()
        n = len(schedule.candidates)
        self.at = LoopState(
            pool=list(range(n)),
            scores=[-math.inf] * n,
            best=[-math.inf] * len(schedule.rates),
            stale=[0] * len(schedule.rates),
            losses=[[] for _ in schedule.rates],
        )

    @property
    def winner(self) -> list[int]:
        """The trials of the candidate that won."""
        return self.schedule.trials(self.at.pool[0])

    def run(self) -> LoopState:
        """All segments, from the start or from where a killed process left off."""
        at, n = self.at, len(self.schedule.candidates)
        turns = math.ceil(math.log2(n)) if self.trainable.together else n
        turns = 0 if n == 1 else turns
        share = int(self.schedule.tokens * self.schedule.search_share / max(turns, 1))
        resumed = self._resume()
        at = self.at
        while at.segment <= turns:
            final = at.segment == turns
            if not resumed:
                self._begin(at.segment, final=final)
                at.allotted = self.schedule.tokens - at.total_spent if final else share
            self._segment(final=final)
            if not final:
                self._settle()
            resumed = False
            at.segment += 1
            at.past_steps.append(at.step)
            at.step = at.spent = at.evaluations = 0
        for trial in self.winner:
            self.trainable.load(trial, self.kept[trial])
        if self.checkpoint:
            self.checkpoint.drop()
        return at

    def _begin(self, segment: int, *, final: bool) -> None:
        """Bring the trials of a segment to where they start."""
        at = self.at
        candidates = at.pool if self.trainable.together or final else [segment]
        at.live = [k for c in candidates for k in self.schedule.trials(c)]
        self.optimisers = {}
        for k in at.live:
            self.trainable.load(k, self.kept.get(k, self.first[k]))
            self.optimisers[k] = self._optimiser(k)
            if k in self.kept_optimiser:
                load_optimiser(self.optimisers[k], self.kept_optimiser[k])

    def _settle(self) -> None:
        """After a search segment: the better half stays, or the best one so far where they take
        turns."""
        at = self.at
        scored = at.pool
        if not self.trainable.together:
            scored = [c for c in at.pool if self.schedule.trials(c)[0] in self.kept]
        ranked = sorted(scored, key=lambda c: -at.scores[c])
        ranked = ranked[: math.ceil(len(ranked) / 2) if self.trainable.together else 1]
        later = [c for c in at.pool if c not in scored]
        at.pool = sorted(ranked) + later
        kept = {k for c in ranked for k in self.schedule.trials(c)}
        self.kept = {k: v for k, v in self.kept.items() if k in kept}
        self.kept_optimiser = {k: v for k, v in self.kept_optimiser.items() if k in kept}

    def _segment(self, *, final: bool) -> None:
        at, schedule = self.at, self.schedule
        source = batches(self.rows, size=schedule.batch_size, seed=self.seed, first=at.step)
        evaluations = schedule.evaluations if final else 1
        # A trial that comes out of the search goes on at full speed.
        warm = (final and at.segment > 0) or bool(at.past_steps and self.trainable.together)
        while at.live:
            rows = next(source)
            cost = self.trainable.cost(rows, at.live)
            # What a step and the look after it would overspend is not begun; in a search the look
            # is on top, for its price is not known to the first candidate, and all get equal steps.
            if at.spent + cost + (at.evaluation_tokens if final else 0) > at.allotted:
                break
            scale = 1.0 - at.spent / at.allotted if final else 1.0
            if not warm:
                gentle = at.spent / (WARM_SHARE * at.allotted) if final else 1.0
                scale *= min(1.0, (at.step + 1) / WARM_STEPS, gentle + 0.05)
            for k, loss in zip(at.live, self._step(rows, scale), strict=True):
                at.losses[k].append(loss)
            at.step, at.total_steps = at.step + 1, at.total_steps + 1
            at.spent, at.total_spent = at.spent + cost, at.total_spent + cost
            shown = min(at.losses[k][-1] for k in at.live)
            report_progress(at.total_spent, schedule.tokens, f"loss {shown:.2f}")
            if at.spent >= at.allotted * (at.evaluations + 1) / evaluations:
                self._look(final=final)
                if not final:
                    return
            if self.checkpoint and self.checkpoint.due:
                self._save()
        if at.live and (any(at.losses[k] for k in at.live) or not at.history):
            self._look(final=final)

    def _step(self, rows: Sequence[TrainRow], scale: float) -> list[float]:
        losses = self.trainable.losses(rows, self.at.live)
        for k in self.at.live:
            self.optimisers[k].zero_grad(set_to_none=True)
        # Trials share no parameter, so that the gradient of the sum is each one's own.
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        for k in self.at.live:
            for group in self.optimisers[k].param_groups:
                group["lr"] = self.schedule.rates[k] * scale
            torch.nn.utils.clip_grad_norm_(self.trainable.parameters(k), 1.0)
            self.optimisers[k].step()
        return [float(loss.detach()) for loss in losses]

    def _look(self, *, final: bool) -> None:
        """Measure on dev, note it, and drop trials that stopped getting better."""
        at = self.at
        found, cost = self.evaluate_dev(at.live)
        at.spent, at.total_spent, at.evaluation_tokens = (
            at.spent + cost,
            at.total_spent + cost,
            cost,
        )
        at.evaluations += 1
        for k, score in zip(at.live, found, strict=True):
            at.history.append(
                FitStep(
                    stage="train" if final else "search",
                    trial=k,
                    learning_rate=self.schedule.rates[k],
                    step=at.total_steps,
                    spent_tokens=at.total_spent,
                    train_loss=mean(at.losses[k]) if at.losses[k] else None,
                    dev_score=score,
                )
            )
            at.losses[k] = []
        scores = {
            k: score if math.isfinite(score) else -math.inf
            for k, score in zip(at.live, found, strict=True)
        }
        if final:
            at.live = [k for k in at.live if not self._is_done(k, scores[k])]
            return
        for k, score in scores.items():
            at.best[k] = score
            self.kept[k] = self.trainable.state(k)
            self.kept_optimiser[k] = optimiser_state(self.optimisers[k])
        for c in range(len(self.schedule.candidates)):
            trials = self.schedule.trials(c)
            if trials[0] in scores:
                at.scores[c] = sum(scores[k] for k in trials) / len(trials)

    def _is_done(self, trial: int, score: float) -> bool:
        at = self.at
        if score > at.best[trial] or trial not in self.kept:
            at.best[trial], at.stale[trial] = score, 0
            self.kept[trial] = self.trainable.state(trial)
            return False
        at.stale[trial] += 1
        return at.stale[trial] >= PATIENCE

    def _optimiser(self, trial: int) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            self.trainable.parameters(trial),
            lr=self.schedule.rates[trial],
            weight_decay=self.schedule.weight_decay,
        )

    def _save(self) -> None:
        assert self.checkpoint is not None
        groups: dict[str, State] = {}
        for k in self.at.live:
            groups[f"now {k}"] = self.trainable.state(k)
            groups[f"optimiser {k}"] = optimiser_state(self.optimisers[k])
        groups |= {f"kept {k}": state for k, state in self.kept.items()}
        groups |= {f"kept optimiser {k}": state for k, state in self.kept_optimiser.items()}
        self.checkpoint.write({**dataclasses.asdict(self.at), "seed": self.seed}, groups)

    def _resume(self) -> bool:
        """Put back what a killed fit left; False for a fresh start."""
        found = self.checkpoint.read() if self.checkpoint else None
        if found is None or found[0].pop("seed") != self.seed:
            return False
        numbers, groups = found
        numbers["history"] = [FitStep(**entry) for entry in numbers["history"]]
        self.at = at = LoopState(**numbers)
        for name, state in groups.items():
            kind, trial = name.rsplit(" ", 1)
            if kind == "kept":
                self.kept[int(trial)] = state
            elif kind == "kept optimiser":
                self.kept_optimiser[int(trial)] = state
        for k in at.live:
            self.trainable.load(k, groups[f"now {k}"])
            self.optimisers[k] = self._optimiser(k)
            load_optimiser(self.optimisers[k], groups[f"optimiser {k}"])
        # What outlives a step (inputs held in a cache) is computed again in the same order.
        for steps in [*at.past_steps, at.step]:
            source = batches(self.rows, size=self.schedule.batch_size, seed=self.seed)
            for _ in range(steps):
                self.trainable.replay(next(source))
        if at.history:
            self.evaluate_dev([])
        return True
