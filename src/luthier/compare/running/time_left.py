"""How long a comparison will still take."""

from __future__ import annotations

import time
from collections.abc import Iterable


class TimeLeft:
    """The time that was planned, corrected by how long the runs so far took."""

    def __init__(self, planned: Iterable[float | None]) -> None:
        """`planned` holds the seconds of each run, in order; None where they are unknown."""
        known = list(planned)
        self._planned = [1.0 if p is None or p <= 0 else p for p in known]
        self._in_seconds = bool(known) and None not in known
        self._worked: dict[int, float] = {}
        self._began = time.monotonic()

    def spent(self, run: int, seconds: float, *, worked: bool) -> None:
        """Note that a run, or a step of one, ended. With `worked` False it was found finished in
        the ledger, and does not count for the speed."""
        if worked:
            self._worked[run] = self._worked.get(run, 0.0) + seconds
        self._began = time.monotonic()

    def left(self, run: int, fraction: float) -> float | None:
        """Seconds for the rest of `run`, of which `fraction` is done, and for all runs after it.
        None while nothing is known."""
        done = sum(self._worked.values()) + (time.monotonic() - self._began)
        planned = sum(self._planned[k] for k in self._worked if k != run)
        planned += self._planned[run] * fraction
        if planned > 0:
            pace = done / planned
        elif self._in_seconds:
            pace = 1.0
        else:
            return None
        return pace * (self._planned[run] * (1 - fraction) + sum(self._planned[run + 1 :]))
