"""The loop over techniques and seeds: whatever the ledger holds finished is not done again."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

from luthier.compare.assemble import best_seed, step_name
from luthier.compare.comparison import SeedRun
from luthier.compare.options import Listener, Progress
from luthier.compare.plan import NO_TUNING, PlannedTechnique
from luthier.compare.running.bench import Bench, Heard, Job
from luthier.compare.running.curve import share_of
from luthier.compare.running.job import give_up, kept, perform, saved_model
from luthier.compare.running.keys import slug
from luthier.ledger.artifacts import show
from luthier.ledger.store import Member
from luthier.records import FitRecord

if TYPE_CHECKING:
    from luthier.techniques.base import Technique

Line = tuple[PlannedTechnique, "Technique"]


def steps_of(technique: Technique) -> list[tuple[Technique, str]]:
    """A technique as steps with the name of their part: "1 few-shot", …, and "" for the last."""
    steps = cast("tuple[Technique, ...] | None", getattr(technique, "techniques", None))
    if not steps:
        return [(technique, "")]
    last = len(steps)
    return [(s, f"{i} {s.name}" if i < last else "") for i, s in enumerate(steps, 1)]


def members_of(bench: Bench, lines: Sequence[Line], curve: Sequence[float]) -> list[Member]:
    """Every run that belongs to the comparison."""
    members = []
    for line, technique in lines:
        for seed in line.seeds:
            for _, part in steps_of(technique):
                key = bench.key(technique, line, seed, part)
                purpose = "step" if part else "run"
                members.append(Member(bench.comparison, key, line.name, purpose, part, seed))
        if line.name == NO_TUNING:
            continue
        for share in curve:
            key = bench.key(technique, line, line.seeds[0], curve_part(share))
            part, seed = str(share), line.seeds[0]
            members.append(Member(bench.comparison, key, line.name, "curve", part, seed))
    return members


def curve_part(share: float) -> str:
    """The part of a run's key that is a point of the learning curve."""
    return f"curve {share:g}"


@dataclass
class Loop:
    """Runs under way. `runs` counts all of them, `done` those that ended."""

    bench: Bench
    lines: Sequence[Line]
    listener: Listener
    curve: Sequence[float] = ()
    done: int = 0
    runs: int = 0
    clock: Clock = field(default_factory=lambda: Clock(()))

    def run(self) -> None:
        """Every technique's first seed, then every second one, so that a comparison that is stopped
        early has something of each; then the points of the learning curves."""
        most = max((len(line.seeds) for line, _ in self.lines), default=0)
        order = [
            (line, technique, line.seeds[number])
            for number in range(most)
            for line, technique in self.lines
            if number < len(line.seeds)
        ]
        points = [
            (line, technique, share)
            for share in sorted(self.curve)
            for line, technique in self.lines
            if line.name != NO_TUNING
        ]
        self.runs = len(order) + len(points)
        self.clock = Clock([seconds_of(line) for line, *_ in (*order, *points)])
        for line, technique, seed in order:
            self._whole(line, technique, seed)
            self._show(line, technique)
            self.done += 1
        if points:
            # Curves come on top of the budget and have a time limit of their own.
            self.bench = self.bench.again()
        for line, technique, share in points:
            self._point(line, technique, share)
            self.done += 1

    def _whole(self, line: PlannedTechnique, technique: Technique, seed: int) -> None:
        """One technique with one seed: one job, or one for each step of a recipe."""
        bench, chain = self.bench, steps_of(technique)
        model, left = bench.model, line.budget_tokens
        before: list[tuple[str, FitRecord]] = []
        for place, (step, part) in enumerate(chain):
            job = Job(
                key=bench.key(technique, line, seed, part),
                purpose="step" if part else "run",
                technique=step,
                line=line,
                seed=seed,
                budget_tokens=None if left is None else left // (len(chain) - place),
                task=bench.locked,
                model=model,
                recipe=technique if len(chain) > 1 and not part else None,
                before=tuple(before),
            )
            name = step_name(line.name, part) if part else line.name
            run = self._do(job, name, start=place / len(chain), share=1 / len(chain))
            if not part:
                return
            if run.status != "finished" or run.path is None:
                whole = replace(job, key=bench.key(technique, line, seed), purpose="run")
                ended = give_up(bench, whole, run.status, f"{step.name}: {run.reason}")
                self.listener.ended(line.name, ended, kept=False)
                return
            model = saved_model(bench.folder / run.path, model)
            left = None if left is None else max(0, left - (run.fit.spent_tokens or 0))
            before.append((step.name, run.fit))

    def _point(self, line: PlannedTechnique, technique: Technique, share: float) -> None:
        """One point of a learning curve, with the first seed."""
        bench, seed = self.bench, line.seeds[0]
        job = Job(
            key=bench.key(technique, line, seed, curve_part(share)),
            purpose="curve",
            technique=technique,
            line=line,
            seed=seed,
            budget_tokens=line.budget_tokens,
            task=share_of(bench.locked, share),
            model=bench.model,
        )
        self._do(job, f"{line.name}, {100 * share:.0f} % of the examples", start=0.0, share=1.0)

    def _do(self, job: Job, name: str, *, start: float, share: float) -> SeedRun:
        found = kept(self.bench, job.key)
        began = time.monotonic()
        run = found or perform(self.bench, job, self._heard(name, job.seed, start, share))
        self.clock.spent(self.done, time.monotonic() - began, worked=found is None)
        self.listener.ended(name, run, kept=found is not None)
        return run

    def _heard(self, name: str, seed: int, start: float, share: float) -> Heard:
        def heard(fraction: float, message: str) -> None:
            whole = start + share * fraction
            left = self.clock.left(self.done, whole)
            self.listener.progressed(
                Progress(name, seed, self.done + 1, self.runs, whole, message, left)
            )

        return heard

    def _show(self, line: PlannedTechnique, technique: Technique) -> None:
        """Let the technique's folder show its best seed so far, chosen on dev."""
        bench = self.bench
        for _, part in steps_of(technique):
            runs = [kept(bench, bench.key(technique, line, seed, part)) for seed in line.seeds]
            finished = [run for run in runs if run is not None]
            best = best_seed(finished)
            shown = next((run for run in finished if run.seed == best), None)
            if shown is not None and shown.path is not None:
                name = slug(step_name(line.name, part)) if part else line.slug
                show(bench.folder / shown.path, bench.folder / name)


class Clock:
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


def seconds_of(line: PlannedTechnique) -> float | None:
    """The planned seconds of one seed."""
    whole = line.estimate.seconds
    return None if whole is None else whole / max(1, len(line.seeds))
