"""The loop over techniques and seeds. A run that the ledger holds finished is not made again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from luthier.compare.comparison import Run
from luthier.compare.listener import Listener, RunProgress
from luthier.compare.plan import PlannedTechnique
from luthier.compare.running.perform_run import (
    finished_run,
    perform_run,
    record_unscored,
    saved_model,
)
from luthier.compare.running.run_context import ProgressCallback, RunContext, RunRequest
from luthier.compare.running.run_keys import slug
from luthier.compare.running.time_left import TimeLeft
from luthier.compare.running.training_shares import training_share
from luthier.compare.technique_results import best_seed, step_name
from luthier.ledger.artifacts import copy_folder
from luthier.ledger.run_ledger import PlannedRun
from luthier.records import Budget, StepRecord
from luthier.safety.inside import inside, inside_by_name
from luthier.techniques.recipe import budget_after, step_budget

if TYPE_CHECKING:
    from luthier.techniques.base import Technique


def steps_of(technique: Technique) -> list[tuple[Technique, str]]:
    """The steps of a technique, each with its part name: "1 few-shot", …, and "" for the last.

    A technique that is no recipe has one step.
    """
    steps = technique.chain()
    last = len(steps)
    return [(s, f"{i} {s.name}" if i < last else "") for i, s in enumerate(steps, 1)]


def planned_runs(
    context: RunContext, techniques: Sequence[PlannedTechnique], curve: Sequence[float]
) -> list[PlannedRun]:
    """Every run that belongs to the comparison; `curve` holds the shares of its learning curve."""
    runs = []
    for planned in techniques:
        steps = steps_of(context.techniques[planned.name])
        runs += [
            context.planned_run(planned, seed, step=part)
            for seed in planned.seeds
            for _, part in steps
        ]
        if planned.footprint.tunes:
            first = planned.seeds[0]
            runs += [context.planned_run(planned, first, share=share) for share in curve]
    return runs


@dataclass
class RunLoop:
    """All runs of a comparison, one after the other. `runs` counts them (a recipe with one seed
    counts once), `done` those that ended."""

    context: RunContext
    techniques: Sequence[PlannedTechnique]
    listener: Listener
    curve: Sequence[float] = ()
    done: int = 0
    runs: int = 0
    time_left: TimeLeft = field(default_factory=lambda: TimeLeft(()))

    def run(self) -> None:
        """Run every technique's first seed, then every second one, so that a comparison that is
        stopped early has something of each; then the points of the learning curves."""
        most_seeds = max((len(planned.seeds) for planned in self.techniques), default=0)
        fits = [
            (planned, planned.seeds[number])
            for number in range(most_seeds)
            for planned in self.techniques
            if number < len(planned.seeds)
        ]
        points = [
            (planned, share)
            for share in sorted(self.curve)
            for planned in self.techniques
            if planned.footprint.tunes
        ]
        self.runs = len(fits) + len(points)
        self.time_left = TimeLeft(
            [_seconds_of_one_seed(planned) for planned, _ in (*fits, *points)]
        )
        for planned, seed in fits:
            self._run_technique(planned, seed)
            self._link_best_seed(planned)
            self.done += 1
        if points:
            # Curves come on top of the budget and have a time limit of their own.
            self.context = self.context.with_deadline()
        for planned, share in points:
            self._run_curve_point(planned, share)
            self.done += 1

    def _run_technique(self, planned: PlannedTechnique, seed: int) -> None:
        """One technique with one seed: one run, or one for each step of a recipe."""
        context, technique = self.context, self.context.techniques[planned.name]
        steps = steps_of(technique)
        if self._is_finished(planned, seed, steps):
            return
        model, budget = context.bases.model(planned.base), Budget(tokens=planned.budget_tokens)
        earlier: list[StepRecord] = []
        for place, (step, part) in enumerate(steps):
            request = RunRequest(
                planned=context.planned_run(planned, seed, step=part),
                technique=step,
                task=context.task_without_test,
                model=model,
                budget=step_budget(budget, place, len(steps)),
                base=planned.base,
                recipe=technique if len(steps) > 1 and not part else None,
                earlier_steps=tuple(earlier),
            )
            name = step_name(planned.name, part) if part else planned.name
            run = self._run(request, name, start=place / len(steps), share=1 / len(steps))
            if not part:
                return
            if run.status != "finished" or run.path is None:
                whole = replace(request, planned=context.planned_run(planned, seed))
                ended = record_unscored(context, whole, run.status, f"{step.name}: {run.reason}")
                self.listener.ended(planned.name, ended, from_ledger=False)
                return
            saved = inside(context.folder, run.path, found_in="The ledger")
            model = saved_model(saved, model)
            budget = budget_after(budget, run.fit)
            filled = model.adaptation.filled
            earlier.append(StepRecord(step.name, run.fit, run.dev_score, filled))

    def _is_finished(
        self, planned: PlannedTechnique, seed: int, steps: Sequence[tuple[Technique, str]]
    ) -> bool:
        """Whether the ledger holds all of it; it is reported then, and its base stays closed."""
        context = self.context
        runs = [
            finished_run(context, context.planned_run(planned, seed, step=part).key)
            for _, part in steps
        ]
        if None in runs:
            return False
        for (_, part), run in zip(steps, runs, strict=True):
            assert run is not None
            name = step_name(planned.name, part) if part else planned.name
            self.time_left.spent(self.done, 0.0, worked=False)
            self.listener.ended(name, run, from_ledger=True)
        return True

    def _run_curve_point(self, planned: PlannedTechnique, share: float) -> None:
        """One point of a learning curve, with the first seed."""
        context = self.context
        request = RunRequest(
            planned=context.planned_run(planned, planned.seeds[0], share=share),
            technique=context.techniques[planned.name],
            task=training_share(context.task_without_test, share),
            model=context.bases.model(planned.base),
            budget=Budget(tokens=planned.budget_tokens),
            base=planned.base,
        )
        name = f"{planned.name}, {100 * share:.0f} % of the examples"
        self._run(request, name, start=0.0, share=1.0)

    def _run(self, request: RunRequest, name: str, *, start: float, share: float) -> Run:
        """One run. It is `share` of a whole run on the progress bar, from `start` on."""
        before = finished_run(self.context, request.planned.key)
        began = time.monotonic()
        run = before
        if run is None:
            progress = self._progress(name, request.planned.seed, start, share)
            run = perform_run(self.context, request, progress)
        self.time_left.spent(self.done, time.monotonic() - began, worked=before is None)
        self.listener.ended(name, run, from_ledger=before is not None)
        return run

    def _progress(self, name: str, seed: int, start: float, share: float) -> ProgressCallback:
        def on_progress(fraction: float, message: str) -> None:
            whole = start + share * fraction
            left = self.time_left.left(self.done, whole)
            self.listener.progressed(
                RunProgress(name, seed, self.done + 1, self.runs, whole, message, left)
            )

        return on_progress

    def _link_best_seed(self, planned: PlannedTechnique) -> None:
        """Make the technique's folder hold its best seed so far, chosen on dev."""
        context = self.context
        for _, part in steps_of(context.techniques[planned.name]):
            keys = [context.planned_run(planned, seed, step=part).key for seed in planned.seeds]
            finished = [run for key in keys if (run := finished_run(context, key)) is not None]
            seed = best_seed(finished)
            best = next((run for run in finished if run.seed == seed), None)
            if best is not None and best.path is not None:
                folder = slug(step_name(planned.name, part)) if part else planned.slug
                source = inside(context.folder, best.path, found_in="The ledger")
                copy_folder(source, inside_by_name(context.folder, folder, found_in="The ledger"))


def _seconds_of_one_seed(planned: PlannedTechnique) -> float | None:
    whole = planned.estimate.seconds
    return None if whole is None else whole / max(1, len(planned.seeds))
