"""Latency: how long one caller waits for one answer, measured by single requests."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from luthier.records import Example
from luthier.scoring.answerer import Answerer

_WARM_UP = 2
_FEWEST = 5
LONG_ENOUGH = 4.0


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds a request, on this machine as loaded as it was. None: nothing was asked."""

    p50_ms: float | None
    p95_ms: float | None
    requests: int


def measure_latency(answerer: Answerer, examples: Sequence[Example], *, n: int = 20) -> Latency:
    """Answer `n` examples one by one, again from the first where there are fewer.

    After `LONG_ENOUGH` seconds five requests suffice. Two requests before them warm caches up and
    are not counted. Batches are faster for each answer; `EvalResult.eval_seconds` shows their time.
    """
    if not examples or n < 1:
        return Latency(None, None, 0)
    for example in examples[:_WARM_UP]:
        answerer.answer([example])
    milliseconds = []
    for request in range(n):
        started = time.perf_counter()
        answerer.answer([examples[request % len(examples)]])
        milliseconds.append((time.perf_counter() - started) * 1000.0)
        if request + 1 >= _FEWEST and sum(milliseconds) > LONG_ENOUGH * 1000.0:
            break
    import numpy as np

    p50, p95 = np.quantile(milliseconds, (0.5, 0.95))
    return Latency(float(p50), float(p95), len(milliseconds))
