"""The surroundings of a piece of long work: who follows its progress, and where it may leave
checkpoints.

A technique is given data and a budget only. The surroundings reach it through a context variable,
so that a fit called from a notebook and one called from a comparison run the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class WorkContext:
    """`progress(done, total, message)` is called often and must be cheap. `folder` is for
    checkpoints; None where there are to be none."""

    progress: Callable[[float, float, str], None] | None = None
    folder: Path | None = None


_current: ContextVar[WorkContext] = ContextVar("work", default=WorkContext())  # noqa: B039 - frozen


@contextmanager
def working(work: WorkContext) -> Iterator[WorkContext]:
    """Make `work` the surroundings of everything that runs inside."""
    token = _current.set(work)
    try:
        yield work
    finally:
        _current.reset(token)


def report_progress(done: float, total: float, message: str = "") -> None:
    """Report that the current work has done `done` of `total`, in any unit."""
    progress = _current.get().progress
    if progress is not None:
        progress(done, total, message)


def checkpoint_folder() -> Path | None:
    """Where the current fit may leave a checkpoint, and find one that it left before a kill."""
    return _current.get().folder
