"""What a request takes on this machine, by its tokens: one measurement for a whole comparison.

Timed apart, two techniques with the same prompt seem to differ by what else the machine was doing.
All timed requests of a comparison therefore go into one line, t = a + b n for n tokens. The runs of
a comparison take turns, seed by seed, so that no technique has the quiet minutes to itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from luthier.compare.costs.cost import Cost


@dataclass(frozen=True, slots=True)
class RequestTime:
    """t = `fixed` + `per_token` n, in seconds.

    `margin` is half the 95 % interval as a share of t, from the spread of the runs around the line;
    `runs` and `requests` count what it rests on.
    """

    fixed: float
    per_token: float
    margin: float
    runs: int
    requests: int

    def seconds(self, tokens: float) -> float:
        """The mean time of a request of so many tokens."""
        return self.fixed + self.per_token * tokens


def request_time(costs: Sequence[Cost]) -> RequestTime | None:
    """The line through the runs' (tokens, mean latency), by least squares; neither part below 0.

    With fewer than three runs there is no spread to speak of, and None is returned.
    """
    timed = [
        (c.tokens_per_request, c.latency_mean_ms / 1000.0, c.timed_requests or 0)
        for c in costs
        if c.tokens_per_request and c.latency_mean_ms is not None
    ]
    if len(timed) < 3:
        return None
    tokens, seconds = [t for t, _, _ in timed], [s for _, s, _ in timed]
    middle, level = mean(tokens), mean(seconds)
    spread = sum((t - middle) ** 2 for t in tokens)
    slope = 0.0
    if spread > 0:
        slope = sum((t - middle) * (s - level) for t, s, _ in timed) / spread
    fixed = level - slope * middle
    if slope <= 0 or fixed < 0:
        fixed, slope = 0.0, level / middle
    ratios = [s / (fixed + slope * t) for t, s, _ in timed]
    margin = _t_quantile(len(timed) - 1) * stdev(ratios) / math.sqrt(len(timed))
    return RequestTime(fixed, slope, margin, len(timed), sum(n for _, _, n in timed))


def _t_quantile(degrees: int) -> float:
    from scipy import stats

    return float(stats.t.ppf(0.975, degrees))
