"""Which precision matrix products are fastest in, found by measuring."""

from __future__ import annotations

import time
from functools import lru_cache

import torch
from torch.nn import functional as F


@lru_cache(maxsize=1)
def bfloat16_pays(seconds: float = 0.2) -> bool:
    """Whether a layer's product is faster in bfloat16 on this processor (with AMX it is)."""
    took = {}
    for kind in (torch.float32, torch.bfloat16):
        x, w = torch.randn(2048, 384, dtype=kind), torch.randn(1536, 384, dtype=kind)
        F.linear(x, w)
        runs, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            F.linear(x, w)
            runs += 1
        took[kind] = (time.perf_counter() - start) / runs
    return took[torch.bfloat16] < 0.8 * took[torch.float32]
