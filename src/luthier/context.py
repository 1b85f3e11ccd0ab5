"""What surrounds a piece of long work: who hears of its progress, and where it may leave
checkpoints.

Techniques are told data and budget only; the surroundings reach them through a context variable, so
that a fit called from a notebook and one called from a comparison are the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class WorkContext:
    """`progress(done, total, message)` is called often and must be cheap. `folder` may be None."""

    progress: Callable[[float, float, str], None] | None = None
    folder: Path | None = None


_current: ContextVar[WorkContext] = ContextVar("work", default=WorkContext())  # noqa: B039 - frozen


@contextmanager
def working(work: WorkContext) -> Iterator[WorkContext]:
    """Make `work` the surroundings of all that runs inside."""
    token = _current.set(work)
    try:
        yield work
    finally:
        _current.reset(token)


def report(done: float, total: float, message: str = "") -> None:
    """Tell whoever listens how far the current fit is."""
    listener = _current.get().progress
    if listener is not None:
        listener(done, total, message)


def checkpoint_folder() -> Path | None:
    """Where the current fit may leave a checkpoint and find one it left before it was killed."""
    return _current.get().folder
