"""The loop over techniques and seeds: whatever the ledger holds finished is not done again."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from luthier.compare.assemble import best_seed, step_name
from luthier.compare.comparison import Run
from luthier.compare.options import Listener, RunProgress
from luthier.compare.plan import PlannedTechnique
from luthier.compare.running.perform_run import finished_run, give_up, perform_run, saved_model
from luthier.compare.running.run_context import ProgressCallback, RunContext, RunRequest
from luthier.compare.running.run_keys import slug
from luthier.compare.running.training_shares import training_share
from luthier.ledger.artifacts import show
from luthier.ledger.run_ledger import PlannedRun
from luthier.records import StepRecord

if TYPE_CHECKING:
    from luthier.techniques.base import Technique

Line = tuple[PlannedTechnique, "Technique"]


def steps_of(technique: Technique) -> list[tuple[Technique, str]]:
    """A technique as steps with the name of their part: "1 few-shot", …, and "" for the last."""
    steps = technique.chain()
    last = len(steps)
    return [(s, f"{i} {s.name}" if i < last else "") for i, s in enumerate(steps, 1)]


def planned_runs(
    context: RunContext, planned_techniques: Sequence[Line], curve: Sequence[float]
) -> list[PlannedRun]:
    """Every run that belongs to the comparison."""
    members = []
    for planned, technique in planned_techniques:
        for seed in planned.seeds:
            for _, part in steps_of(technique):
                key = context.key(technique, planned, seed, part)
                purpose = "step" if part else "run"
                members.append(
                    PlannedRun(context.comparison, key, planned.name, purpose, part, seed)
                )
        if not planned.footprint.tunes:
            continue
        for share in curve:
            key = context.key(technique, planned, planned.seeds[0], curve_part(share))
            part, seed = str(share), planned.seeds[0]
            members.append(PlannedRun(context.comparison, key, planned.name, "curve", part, seed))
    return members


def curve_part(share: float) -> str:
    """The part of a run's key that is a point of the learning curve."""
    return f"curve {share:g}"


@dataclass
class RunLoop:
    """Runs under way. `runs` counts all of them, `done` those that ended."""

    context: RunContext
    planned_techniques: Sequence[Line]
    listener: Listener
    curve: Sequence[float] = ()
    done: int = 0
    runs: int = 0
    clock: TimeLeft = field(default_factory=lambda: TimeLeft(()))

    def run(self) -> None:
        """Every technique's first seed, then every second one, so that a comparison that is stopped
        early has something of each; then the points of the learning curves."""
        most = max((len(planned.seeds) for planned, _ in self.planned_techniques), default=0)
        order = [
            (planned, technique, planned.seeds[number])
            for number in range(most)
            for planned, technique in self.planned_techniques
            if number < len(planned.seeds)
        ]
        points = [
            (planned, technique, share)
            for share in sorted(self.curve)
            for planned, technique in self.planned_techniques
            if planned.footprint.tunes
        ]
        self.runs = len(order) + len(points)
        self.clock = TimeLeft([seconds_of(planned) for planned, *_ in (*order, *points)])
        for planned, technique, seed in order:
            self._whole(planned, technique, seed)
            self._show(planned, technique)
            self.done += 1
        if points:
            # Curves come on top of the budget and have a time limit of their own.
            self.context = self.context.again()
        for planned, technique, share in points:
            self._point(planned, technique, share)
            self.done += 1

    def _whole(self, planned: PlannedTechnique, technique: Technique, seed: int) -> None:
        """One technique with one seed: one job, or one for each step of a recipe."""
        context, chain = self.context, steps_of(technique)
        model, left = context.model, planned.budget_tokens
        before: list[StepRecord] = []
        for place, (step, part) in enumerate(chain):
            request = RunRequest(
                key=context.key(technique, planned, seed, part),
                purpose="step" if part else "run",
                technique=step,
                planned=planned,
                seed=seed,
                budget_tokens=None if left is None else left // (len(chain) - place),
                task=context.locked,
                model=model,
                recipe=technique if len(chain) > 1 and not part else None,
                before=tuple(before),
            )
            name = step_name(planned.name, part) if part else planned.name
            run = self._do(request, name, start=place / len(chain), share=1 / len(chain))
            if not part:
                return
            if run.status != "finished" or run.path is None:
                whole = replace(request, key=context.key(technique, planned, seed), purpose="run")
                ended = give_up(context, whole, run.status, f"{step.name}: {run.reason}")
                self.listener.ended(planned.name, ended, kept=False)
                return
            model = saved_model(context.folder / run.path, model)
            left = None if left is None else max(0, left - (run.fit.spent_tokens or 0))
            before.append(StepRecord(step.name, run.fit, run.dev_score, model.adaptation.filled))

    def _point(self, planned: PlannedTechnique, technique: Technique, share: float) -> None:
        """One point of a learning curve, with the first seed."""
        context, seed = self.context, planned.seeds[0]
        request = RunRequest(
            key=context.key(technique, planned, seed, curve_part(share)),
            purpose="curve",
            technique=technique,
            planned=planned,
            seed=seed,
            budget_tokens=planned.budget_tokens,
            task=training_share(context.locked, share),
            model=context.model,
        )
        self._do(
            request, f"{planned.name}, {100 * share:.0f} % of the examples", start=0.0, share=1.0
        )

    def _do(self, request: RunRequest, name: str, *, start: float, share: float) -> Run:
        found = finished_run(self.context, request.key)
        began = time.monotonic()
        run = found or perform_run(
            self.context, request, self._heard(name, request.seed, start, share)
        )
        self.clock.spent(self.done, time.monotonic() - began, worked=found is None)
        self.listener.ended(name, run, kept=found is not None)
        return run

    def _heard(self, name: str, seed: int, start: float, share: float) -> ProgressCallback:
        def on_progress(fraction: float, message: str) -> None:
            whole = start + share * fraction
            left = self.clock.left(self.done, whole)
            self.listener.progressed(
                RunProgress(name, seed, self.done + 1, self.runs, whole, message, left)
            )

        return on_progress

    def _show(self, planned: PlannedTechnique, technique: Technique) -> None:
        """Let the technique's folder show its best seed so far, chosen on dev."""
        context = self.context
        for _, part in steps_of(technique):
            runs = [
                finished_run(context, context.key(technique, planned, seed, part))
                for seed in planned.seeds
            ]
            finished = [run for run in runs if run is not None]
            best = best_seed(finished)
            shown = next((run for run in finished if run.seed == best), None)
            if shown is not None and shown.path is not None:
                name = slug(step_name(planned.name, part)) if part else planned.slug
                show(context.folder / shown.path, context.folder / name)


class TimeLeft:
    """How long is left: what was planned, corrected by how the plan did so far."""

    def __init__(self, planned: Iterable[float | None]) -> None:
        known = list(planned)
        self._planned = [1.0 if p is None or p <= 0 else p for p in known]
        self._in_seconds = bool(known) and None not in known
        self._worked: dict[int, float] = {}
        self._began = time.monotonic()

    def spent(self, run: int, seconds: float, *, worked: bool) -> None:
        """A run, or a step of one, ended. One that was found finished tells nothing about speed."""
        if worked:
            self._worked[run] = self._worked.get(run, 0.0) + seconds
        self._began = time.monotonic()

    def left(self, run: int, fraction: float) -> float | None:
        """Seconds for the rest of `run` and all runs after it; None before anything is known."""
        done = sum(self._worked.values()) + (time.monotonic() - self._began)
        planned = sum(self._planned[k] for k in self._worked if k != run)
        planned += self._planned[run] * fraction
        if planned <= 0:
            pace = 1.0 if self._in_seconds else None
        else:
            pace = done / planned
        if pace is None:
            return None
        return pace * (self._planned[run] * (1 - fraction) + sum(self._planned[run + 1 :]))


def seconds_of(planned: PlannedTechnique) -> float | None:
    """The planned seconds of one seed."""
    whole = planned.estimate.seconds
    return None if whole is None else whole / max(1, len(planned.seeds))
