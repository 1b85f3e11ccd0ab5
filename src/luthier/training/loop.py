"""The one training loop: it spends tokens, counts them, and evaluates on dev at intervals.

A fit has candidates (learning rates, mostly), each of one trial or of several that stay together.
First comes a search by successive halving (Jamieson and Talwalkar 2016, arXiv:1502.07943):
candidates that can train in one pass do so, and after every rung the better half goes on; those
that cannot get one turn each. Then the winner goes on to the end of the budget with a linear decay.
Of every trial the state with the best dev score is kept, and it ends early when `PATIENCE`
evaluations in a row bring nothing better. Everything is a function of seed and tokens, never of the
clock.
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
from luthier.training.objectives import Objective
from luthier.training.rows import TrainRow, batches
from luthier.training.trainable import DevEvaluation, State, Trainable

WARM_STEPS = 5
WARM_SHARE = 0.15  # of the tokens; what a start knows (demonstrations) must outlive the first steps
PATIENCE = 3
SEARCH_SHARE = 0.3  # of the tokens, where there are several candidates
EVALUATIONS = 5  # on dev, in the final segment


@dataclass(frozen=True, slots=True)
class Schedule:
    """How to spend a fit's tokens.

    `candidates` holds, for each, the learning rates of its trials; trials are numbered across
    candidates. `evaluations` counts those on dev in the final segment, `evaluation_tokens` is what
    the first of them will take.
    """

    tokens: int
    candidates: tuple[tuple[float, ...], ...]
    batch_size: int = 16
    search_share: float = SEARCH_SHARE
    evaluations: int = EVALUATIONS
    evaluation_tokens: int = 0
    weight_decay: float = 0.0

    @property
    def learning_rates(self) -> list[float]:
        """The learning rate of every trial."""
        return [rate for candidate in self.candidates for rate in candidate]

    def trials(self, candidate: int) -> list[int]:
        """The numbers of a candidate's trials."""
        first = sum(len(c) for c in self.candidates[:candidate])
        return list(range(first, first + len(self.candidates[candidate])))


@dataclass(slots=True)
class LoopState:
    """Where a fit stands, in what JSON can hold, so that a checkpoint can keep it.

    A segment is one rung or turn of the search, or the training of the winner at the end.
    """

    segment: int = 0
    step: int = 0  # within the segment
    spent: int = 0  # within the segment, forward-token equivalents
    evaluations: int = 0  # within the segment
    allotted: int = 0  # tokens of the segment
    active: list[int] = field(default_factory=list)  # trials that train
    pool: list[int] = field(default_factory=list)  # candidates that are still in the search
    scores: list[float] = field(default_factory=list)  # the last dev score of each candidate
    best: list[float] = field(default_factory=list)  # the best dev score of each trial
    stale: list[int] = field(default_factory=list)  # evaluations without a better one, by trial
    steps: list[int] = field(default_factory=list)  # of each trial, over all segments
    past_steps: list[int] = field(default_factory=list)  # of the segments before
    total_spent: int = 0
    total_steps: int = 0
    evaluation_tokens: int = 0  # what the last dev evaluation took
    losses: list[list[float]] = field(default_factory=list)  # of each trial since that evaluation
    collapse: str = ""  # why a trial was ended before its tokens were spent
    history: list[FitStep] = field(default_factory=list)


# What is wrong with a trial that has just been evaluated, in words; None: nothing.
HealthCheck = Callable[[int], str | None]


class TrainingLoop:
    """One fit: trains `trainable` for `objective` on `rows`. `run` leaves the winner's trials in
    their best states.

    `health` looks at the winner after each evaluation. What it finds ill is not kept and trains no
    further: the last good state stays, or the first one of all. What a search found passes it once
    before it goes on.
    """

    def __init__(
        self,
        trainable: Trainable,
        objective: Objective,
        *,
        rows: Sequence[TrainRow],
        evaluate_dev: DevEvaluation,
        schedule: Schedule,
        seed: int,
        health: HealthCheck | None = None,
    ) -> None:
        self.trainable, self.objective, self.health = trainable, objective, health
        self.rows, self.evaluate_dev = rows, evaluate_dev
        self.schedule, self.seed = schedule, seed
        self.first = {k: trainable.state(k) for k in range(len(schedule.learning_rates))}
        self.kept: dict[int, State] = {}  # where each trial is best, or left off
        self.kept_optimiser: dict[int, State] = {}
        self.optimisers: dict[int, torch.optim.Optimizer] = {}
        self.checkpoint = Checkpoint.here()
        n = len(schedule.candidates)
        self.at = LoopState(
            pool=list(range(n)),
            scores=[-math.inf] * n,
            best=[-math.inf] * len(schedule.learning_rates),
            stale=[0] * len(schedule.learning_rates),
            steps=[0] * len(schedule.learning_rates),
            losses=[[] for _ in schedule.learning_rates],
        )

    @property
    def winner(self) -> list[int]:
        """The trials of the candidate that won."""
        return self.schedule.trials(self.at.pool[0])

    def run(self) -> LoopState:
        """All segments, from the start or from where a killed process left off."""
        at, n = self.at, len(self.schedule.candidates)
        turns = math.ceil(math.log2(n)) if self.trainable.parallel else n
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
            self.trainable.load(trial, self.kept.get(trial, self.first[trial]))
        if self.checkpoint:
            self.checkpoint.drop()
        return at

    def _begin(self, segment: int, *, final: bool) -> None:
        """Bring the trials of a segment to where they start."""
        at = self.at
        candidates = at.pool if self.trainable.parallel or final else [segment]
        at.active = [k for c in candidates for k in self.schedule.trials(c)]
        self.optimisers = {}
        for k in at.active:
            self.trainable.load(k, self.kept.get(k, self.first[k]))
            self.optimisers[k] = self._optimiser(k)
            if k in self.kept_optimiser:
                load_optimiser(self.optimisers[k], self.kept_optimiser[k])
            if k in self.kept and final and self.health is not None and self.health(k) is not None:
                del self.kept[k], self.kept_optimiser[k]
                self.trainable.load(k, self.first[k])
                self.optimisers[k] = self._optimiser(k)

    def _settle(self) -> None:
        """After a search segment keep the better half of the candidates, or the best one so far
        where they take turns."""
        at = self.at
        scored = at.pool
        if not self.trainable.parallel:
            scored = [c for c in at.pool if self.schedule.trials(c)[0] in self.kept]
        ranked = sorted(scored, key=lambda c: -at.scores[c])
        ranked = ranked[: math.ceil(len(ranked) / 2) if self.trainable.parallel else 1]
        later = [c for c in at.pool if c not in scored]
        at.pool = sorted(ranked) + later
        kept = {k for c in ranked for k in self.schedule.trials(c)}
        self.kept = {k: v for k, v in self.kept.items() if k in kept}
        self.kept_optimiser = {k: v for k, v in self.kept_optimiser.items() if k in kept}

    def _segment(self, *, final: bool) -> None:
        at, schedule = self.at, self.schedule
        batch_source = batches(self.rows, size=schedule.batch_size, seed=self.seed, first=at.step)
        evaluations = schedule.evaluations if final else 1
        # A trial that comes out of the search goes on at full speed.
        warm = (final and at.segment > 0) or bool(at.past_steps and self.trainable.parallel)
        while at.active:
            rows = next(batch_source)
            cost = self.trainable.cost(rows, at.active)
            # A step that would overspend, with the evaluation after it, is not begun. In a search
            # the evaluation is on top: the first candidate does not know its price, and all get
            # equal steps.
            after = at.evaluation_tokens or schedule.evaluation_tokens
            if at.spent + cost + (after if final else 0) > at.allotted:
                break
            scale = 1.0 - at.spent / at.allotted if final else 1.0
            if not warm:
                gentle = at.spent / (WARM_SHARE * at.allotted) if final else 1.0
                scale *= min(1.0, (at.step + 1) / WARM_STEPS, gentle + 0.05)
            for k, loss in zip(at.active, self._step(rows, scale), strict=True):
                at.losses[k].append(loss)
            at.step, at.total_steps = at.step + 1, at.total_steps + 1
            for k in at.active:
                at.steps[k] += 1
            at.spent, at.total_spent = at.spent + cost, at.total_spent + cost
            shown = min(at.losses[k][-1] for k in at.active)
            report_progress(at.total_spent, schedule.tokens, f"loss {shown:.2f}")
            if at.spent >= at.allotted * (at.evaluations + 1) / evaluations:
                self._evaluate(final=final)
                if not final:
                    return
            if self.checkpoint and self.checkpoint.due:
                self._save()
        if at.active and (any(at.losses[k] for k in at.active) or not at.history):
            self._evaluate(final=final)

    def _step(self, rows: Sequence[TrainRow], scale: float) -> list[float]:
        found = self.trainable.logprobs(rows, self.at.active)
        losses = [self.objective.loss(rows, logprobs) for logprobs in found]
        for k in self.at.active:
            self.optimisers[k].zero_grad(set_to_none=True)
        # Trials share no parameter, so that the gradient of the sum is each one's own.
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        for k in self.at.active:
            for group in self.optimisers[k].param_groups:
                group["lr"] = self.schedule.learning_rates[k] * scale
            torch.nn.utils.clip_grad_norm_(self.trainable.parameters(k), 1.0)
            self.optimisers[k].step()
        return [float(loss.detach()) for loss in losses]

    def _evaluate(self, *, final: bool) -> None:
        """Score the active trials on dev, record it, drop trials that stopped getting better."""
        at = self.at
        found, cost = self.evaluate_dev(at.active)
        at.spent, at.total_spent, at.evaluation_tokens = (
            at.spent + cost,
            at.total_spent + cost,
            cost,
        )
        at.evaluations += 1
        for k, score in zip(at.active, found, strict=True):
            at.history.append(
                FitStep(
                    stage="train" if final else "search",
                    trial=k,
                    learning_rate=self.schedule.learning_rates[k],
                    step=at.total_steps,
                    spent_tokens=at.total_spent,
                    train_loss=mean(at.losses[k]) if at.losses[k] else None,
                    dev_score=score,
                )
            )
            at.losses[k] = []
        scores = {
            k: score if math.isfinite(score) else -math.inf
            for k, score in zip(at.active, found, strict=True)
        }
        if final:
            at.active = [k for k in at.active if not self._is_ill(k)]
            at.active = [k for k in at.active if not self._is_done(k, scores[k])]
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

    def _is_ill(self, trial: int) -> bool:
        reason = self.health(trial) if self.health is not None else None
        if reason is not None:
            self.at.collapse = reason
        return reason is not None

    def _optimiser(self, trial: int) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            self.trainable.parameters(trial),
            lr=self.schedule.learning_rates[trial],
            weight_decay=self.schedule.weight_decay,
            fused=True,  # a step over all weights takes a quarter of the time
        )

    def _save(self) -> None:
        assert self.checkpoint is not None
        groups: dict[str, State] = {}
        for k in self.at.active:
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
        if set(numbers) != {f.name for f in dataclasses.fields(LoopState)}:
            return False  # an older version wrote it
        numbers["history"] = [FitStep(**entry) for entry in numbers["history"]]
        self.at = at = LoopState(**numbers)
        for name, state in groups.items():
            kind, trial = name.rsplit(" ", 1)
            if kind == "kept":
                self.kept[int(trial)] = state
            elif kind == "kept optimiser":
                self.kept_optimiser[int(trial)] = state
        for k in at.active:
            self.trainable.load(k, groups[f"now {k}"])
            self.optimisers[k] = self._optimiser(k)
            load_optimiser(self.optimisers[k], groups[f"optimiser {k}"])
        # What outlives a step (the keys and values of inputs) is computed again in the same order.
        for steps in [*at.past_steps, at.step]:
            batch_source = batches(self.rows, size=self.schedule.batch_size, seed=self.seed)
            for _ in range(steps):
                self.trainable.replay(next(batch_source))
        if at.history:
            self.evaluate_dev([])
        return True
