"""A bar for work that counts: rows answered, examples verified."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from luthier.context import WorkContext, working

if TYPE_CHECKING:
    from rich.console import Console

LINE_SECONDS = 20.0  # between lines, where there is no terminal


@contextmanager
def work_bar(console: Console, unit: str) -> Iterator[None]:
    """Show the progress of everything inside: a bar on a terminal, a line now and then elsewhere.

    `unit` is what is counted, in the plural.
    """
    if not console.is_terminal:
        printed = time.monotonic()

        def line(done: float, total: float, message: str) -> None:
            nonlocal printed
            if time.monotonic() - printed >= LINE_SECONDS:
                printed = time.monotonic()
                console.print(f"{done:,.0f} of {total:,.0f} {unit}")

        with working(WorkContext(progress=line)):
            yield
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), unit, TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(unit, total=None)

        def move(done: float, total: float, message: str) -> None:
            bar.update(task, completed=done, total=total)

        with working(WorkContext(progress=move)):
            yield
