"""The progress of a comparison in the terminal: the plan, a bar with the time left, and a line for
each run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import typer

from luthier.compare.comparison import Run
from luthier.compare.listener import RunProgress
from luthier.compare.plan import Plan, PlannedTechnique
from luthier.context import WorkContext, working

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.progress import TaskID
    from rich.table import Table


EVERY_SECONDS = 20.0  # between lines about one run, where there is no terminal


class TerminalListener:
    """Writes to a console: a bar on a terminal, plain lines elsewhere."""

    def __init__(self, console: Console, *, confirm: bool = False) -> None:
        """`confirm`: ask before money is spent."""
        self.console = console
        self.confirm = confirm
        self._printed = time.monotonic()
        self._bar: Bar | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        if self._bar is not None:
            self._bar.stop()

    def planned(self, plan: Plan, folder: Path) -> None:
        """Show the plan, and ask where a provider charges for it; typer.Abort when refused."""
        self.console.print(plan_table(plan))
        self.console.print(plan_words(plan, folder), markup=False, soft_wrap=True)
        for sentence in () if plan.advice is None else plan.advice.sentences():
            self.console.print(f"advice: {sentence}", markup=False, soft_wrap=True)
        if self.confirm and plan.billed and plan.money is not None:
            typer.confirm(f"Spend about {plan.money:.2f} {plan.currency}?", abort=True, err=True)

    def progressed(self, progress: RunProgress) -> None:
        """Move the bar; without a terminal, print a line every 20 seconds."""
        if not self.console.is_terminal:
            self._line(progress)
            return
        bar, task = self._started()
        bar.update(
            task,
            completed=progress.run - 1 + progress.fraction,
            total=progress.runs,
            description=f"{progress.technique}, seed {progress.seed}",
            run=f"{progress.run}/{progress.runs}",
            left=_duration(progress.seconds_left),
            message=progress.message[:50],
        )

    def _line(self, progress: RunProgress) -> None:
        now = time.monotonic()
        if now - self._printed < EVERY_SECONDS:
            return
        self._printed = now
        self.console.print(
            f"run {progress.run} of {progress.runs}, {progress.technique}, seed {progress.seed}: "
            f"{100 * progress.fraction:.0f} %, {progress.message}; "
            f"{_duration(progress.seconds_left)} left",
            markup=False,
            soft_wrap=True,
        )

    def ended(self, technique: str, run: Run, *, from_ledger: bool) -> None:
        """Write a line about the run."""
        words = f"{technique}, seed {run.seed}: "
        if run.status != "finished":
            words += f"{run.status}: {run.reason}"
        elif run.score.value is None:
            words += "no score"
        else:
            words += f"{run.score.metric} {run.score.value:.3f}"
            if from_ledger:
                words += " (done before)"
            elif run.cost.fit_seconds is not None:
                words += f", fitted in {_duration(run.cost.fit_seconds)}"
        self.console.print(words, markup=False, soft_wrap=True)

    def _started(self) -> tuple[Bar, TaskID]:
        if self._bar is None or self._task is None:
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.fields[run]}"),
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[left]} left"),
                TextColumn("[dim]{task.fields[message]}"),
                console=self.console,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._task = self._bar.add_task("", total=1, run="", left="?", message="")
            self._bar.start()
        return self._bar, self._task


@contextmanager
def reading_task(console: Console) -> Iterator[None]:
    """Say what reading a task's data is busy with, where that takes long (recordings)."""
    printed = -EVERY_SECONDS

    def progress(done: float, total: float, message: str) -> None:
        nonlocal printed
        now = time.monotonic()
        if now - printed >= EVERY_SECONDS:
            printed = now
            console.print(message, markup=False, soft_wrap=True)

    with working(WorkContext(progress=progress)):
        yield


def plan_table(plan: Plan) -> Table:
    """The plan, a row for each technique."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE, title="Plan", title_justify="left", pad_edge=False)
    table.add_column("technique")
    tokens, money = "tuning, tokens a fit", f"cost, {plan.currency}"
    for heading in ("seeds", tokens, "passes", "time", "memory", money):
        table.add_column(heading, justify="right")
    for planned in plan.techniques:
        if planned.skip_reason is not None:
            table.add_row(Text(planned.name), Text(f"skipped: {planned.skip_reason}", "dim"))
        else:
            table.add_row(Text(planned.name), *_cells(planned))
    return table


def plan_words(plan: Plan, folder: Path) -> str:
    """What the table does not say, a line for each thing."""
    known = plan.seconds is not None
    time = f"about {_duration(plan.seconds)} in all" if known else "not known"
    if plan.hard_cap_seconds is not None:
        time += f", and never more than {_duration(plan.hard_cap_seconds)}"
    lines = [
        ("time", time),
        ("budget", _budget_words(plan)),
        ("can show", power_words(plan)),
        ("results", f"{folder}; the same command again goes on from there"),
        *(("note", warning) for warning in plan.warnings),
    ]
    return "\n".join(f"{name + ':':<10}{words}" for name, words in lines if words)


def power_words(plan: Plan) -> str:
    """What the test split can show, and what it would take to show three points."""
    power = plan.power
    if power is None:
        return ""
    words = f"{100 * power.pair:.1f} points between two techniques"
    if len(plan.to_run) > 2:
        words += f", {100 * power.family:.1f} between the best of {len(plan.to_run)} and another"
    return (
        f"{words} (the smallest difference that {power.test_examples:,} test examples show in four "
        f"of five comparisons); 3 points take {power.for_three_points:,}. Decide on the number "
        "before the run: a test split that grows until p < 0.05 proves nothing."
    )


def _budget_words(plan: Plan) -> str:
    """How many tokens a budget in minutes gave; on a busy machine they are fewer."""
    if plan.tuning_tokens is None:
        return ""
    if plan.budget_minutes is None or plan.tokens_per_second is None:
        enough = plan.enough_tokens is not None and plan.tuning_tokens >= plan.enough_tokens
        passes = ", three passes over the training examples or more in each fit" * enough
        return f"{plan.tuning_tokens:,} tokens of tuning{passes}"
    return (
        f"{plan.tuning_tokens:,} tokens of tuning, at {plan.tokens_per_second:,.0f} tokens a "
        f"second, as measured on this machine. --budget {plan.tuning_tokens}tok gives the same "
        "fits at any time, however busy the machine is."
    )


def _cells(planned: PlannedTechnique) -> list[str]:
    estimate = planned.estimate
    memory = estimate.peak_memory_bytes
    return [
        str(len(planned.seeds)),
        "no limit" if planned.budget_tokens is None else f"{planned.budget_tokens:,}",
        "–" if estimate.epochs is None else f"{estimate.epochs:.1f}",
        _duration(estimate.seconds),
        "?" if memory is None else f"{memory / 1e9:.1f} GB",
        "?" if estimate.money is None else f"{estimate.money:.2g}",
    ]


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
