"""How often a client may ask: so many requests a minute, a burst of as many at once."""

from __future__ import annotations

import math
import time

MOST_CLIENTS = 10_000


class RateLimits:
    """A bucket for each client that fills by `per_minute`. None: as often as it likes."""

    def __init__(self, per_minute: int | None) -> None:
        self.per_minute = per_minute
        self._buckets: dict[str, tuple[float, float]] = {}  # what is left, and when it was so

    def wait_seconds(self, client: str) -> int:
        """Take one request: 0 where it may go on, else in how many seconds the next one may."""
        if self.per_minute is None:
            return 0
        now, rate = time.monotonic(), self.per_minute / 60
        left, then = self._buckets.pop(client, (float(self.per_minute), now))
        left = min(float(self.per_minute), left + (now - then) * rate)
        allowed = left >= 1
        self._buckets[client] = (left - 1 if allowed else left, now)
        while len(self._buckets) > MOST_CLIENTS:
            del self._buckets[next(iter(self._buckets))]  # the one that was silent longest
        return 0 if allowed else max(1, math.ceil((1 - left) / rate))
