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
    """Milliseconds a request, on this machine as loaded as it was. None: nothing was asked.

    `label_tokens` is how many tokens beyond the prompt one request computes to rank its labels; 0
    where there are none, or the backend does not count what it computes.
    """

    p50_ms: float | None
    p95_ms: float | None
    requests: int
    mean_ms: float | None = None
    label_tokens: float = 0.0


def measure_latency(answerer: Answerer, examples: Sequence[Example], *, n: int = 20) -> Latency:
    """Answer `n` examples one by one, again from the first where there are fewer.

    After `LONG_ENOUGH` seconds five requests suffice. Two requests before them warm caches up and
    are not counted. Batches are faster for each answer; `EvalResult.eval_seconds` shows their time.
    """
    if not examples or n < 1:
        return Latency(None, None, 0)
    for example in examples[:_WARM_UP]:
        answerer.answer([example])
    milliseconds: list[float] = []
    beyond_prompt: list[int] = []
    for request in range(n):
        started = time.perf_counter()
        (response,) = answerer.answer([examples[request % len(examples)]])
        milliseconds.append((time.perf_counter() - started) * 1000.0)
        used = response.usage
        if response.label_logprobs is not None:
            beyond = used.computed_tokens - used.prompt_tokens - used.generated_tokens
            beyond_prompt.append(max(0, beyond))
        if request + 1 >= _FEWEST and sum(milliseconds) > LONG_ENOUGH * 1000.0:
            break
    import numpy as np

    p50, p95 = np.quantile(milliseconds, (0.5, 0.95))
    return Latency(
        float(p50),
        float(p95),
        len(milliseconds),
        float(np.mean(milliseconds)),
        float(np.mean(beyond_prompt)) if beyond_prompt else 0.0,
    )
