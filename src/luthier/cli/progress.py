"""How a comparison goes, for whoever watches: a plan, a bar with the time left, a line a run."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import typer

from luthier.compare.comparison import Run
from luthier.compare.options import RunProgress
from luthier.compare.plan import Plan, PlannedTechnique

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.progress import TaskID
    from rich.table import Table


class TerminalListener:
    """On a terminal a bar; elsewhere plain lines. Everything goes to the console it is given."""

    def __init__(self, console: Console, *, asks: bool = False) -> None:
        """`asks`: have money confirmed before it is spent."""
        self.console = console
        self.asks = asks
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
        """Show the plan; ask where it costs money at a provider. typer.Abort when called off."""
        self.console.print(plan_table(plan))
        self.console.print(plan_words(plan, folder), markup=False, soft_wrap=True)
        # Without a device the model is somebody else's, and tokens are billed.
        if self.asks and plan.billed and plan.money is not None:
            typer.confirm(f"Spend about {plan.money:.2f} {plan.currency}?", abort=True, err=True)

    def progressed(self, progress: RunProgress) -> None:
        """Move the bar."""
        if not self.console.is_terminal:
            return
        bar, task = self._started()
        bar.update(
            task,
            completed=progress.run - 1 + progress.fraction,
            total=progress.runs,
            description=f"{progress.technique}, seed {progress.seed}",
            run=f"{progress.run}/{progress.runs}",
            left=_duration(progress.seconds_left),
            said=progress.message[:50],
        )

    def ended(self, technique: str, run: Run, *, kept: bool) -> None:
        """A line for each run that ended."""
        what = f"{technique}, seed {run.seed}: "
        if run.status != "finished":
            what += f"{run.status}: {run.reason}"
        elif run.score.value is None:
            what += "no score"
        else:
            what += f"{run.score.metric} {run.score.value:.3f}"
            if kept:
                what += " (done before)"
            elif run.cost.fit_seconds is not None:
                what += f", fitted in {_duration(run.cost.fit_seconds)}"
        self.console.print(what, markup=False, soft_wrap=True)

    def _started(self) -> tuple[Bar, TaskID]:
        if self._bar is None or self._task is None:
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.fields[run]}"),
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[left]} left"),
                TextColumn("[dim]{task.fields[said]}"),
                console=self.console,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._task = self._bar.add_task("", total=1, run="", left="?", said="")
            self._bar.start()
        return self._bar, self._task


def plan_table(plan: Plan) -> Table:
    """The plan, a line for each technique."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE, title="Plan", title_justify="left", pad_edge=False)
    table.add_column("technique")
    for heading in ("seeds", "tuning, tokens a fit", "time", "memory", f"cost, {plan.currency}"):
        table.add_column(heading, justify="right")
    for line in plan.techniques:
        if line.skip_reason is not None:
            table.add_row(Text(line.name), Text(f"skipped: {line.skip_reason}", "dim"))
        else:
            table.add_row(Text(line.name), *_cells(line))
    return table


def plan_words(plan: Plan, folder: Path) -> str:
    """The plan's totals in a sentence or two."""
    known = plan.seconds is not None
    time = f"about {_duration(plan.seconds)} in all" if known else "how long it takes is not known"
    said = f"{plan.test_examples:,} test examples; {time}"
    if plan.hard_cap_seconds is not None:
        said += f", and never more than {_duration(plan.hard_cap_seconds)}"
    said += f". Results go to {folder}; the same command again goes on from there."
    return " ".join(filter(None, (said, _speed_words(plan))))


def _speed_words(plan: Plan) -> str:
    """What a budget in minutes was turned into: on a busy machine it is less, and says so."""
    if plan.budget_minutes is None or plan.tokens_per_second is None or plan.tuning_tokens is None:
        return ""
    return (
        f"At {plan.tokens_per_second:,.0f} tokens a second, as measured on this machine, the "
        f"budget makes {plan.tuning_tokens:,} tokens of tuning: --budget {plan.tuning_tokens}tok "
        "gives the same fits on any day, however busy the machine is."
    )


def _cells(line: PlannedTechnique) -> list[str]:
    estimate = line.estimate
    memory = estimate.peak_memory_bytes
    return [
        str(len(line.seeds)),
        "no limit" if line.budget_tokens is None else f"{line.budget_tokens:,}",
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
