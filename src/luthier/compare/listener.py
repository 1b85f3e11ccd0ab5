"""Progress of a comparison: what is reported, and to whom."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from luthier.compare.comparison import Run
from luthier.compare.plan import Plan


@dataclass(frozen=True, slots=True)
class RunProgress:
    """Progress of the current run. `run` counts from 1 to `runs`; `fraction` (0 to 1) is how much
    of the current run is done. `seconds_left` is for all that is left, None while it is unknown."""

    technique: str
    seed: int
    run: int
    runs: int
    fraction: float
    message: str = ""
    seconds_left: float | None = None


class Listener(Protocol):
    """Follows a comparison. All methods are called from the thread that compares."""

    def planned(self, plan: Plan, folder: Path) -> None:
        """Called before anything runs; may raise to cancel the comparison."""
        ...

    def progressed(self, progress: RunProgress) -> None:
        """Called often; must be cheap."""
        ...

    def ended(self, technique: str, run: Run, *, from_ledger: bool) -> None:
        """Called when a run ended; `from_ledger` means that it had finished earlier."""
        ...


class SilentListener:
    """A listener that does nothing."""

    def planned(self, plan: Plan, folder: Path) -> None:
        """Do nothing."""

    def progressed(self, progress: RunProgress) -> None:
        """Do nothing."""

    def ended(self, technique: str, run: Run, *, from_ledger: bool) -> None:
        """Do nothing."""
