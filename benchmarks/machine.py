"""The machine: what it is, how fast it multiplies, and the operations that a job needs at least."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
import torch

from benchmarks.cases import Classification
from benchmarks.measure import clock
from luthier.models.local.products import decision

LIBRARIES = ("torch", "transformers", "peft", "accelerate", "lm_eval", "trl", "datasets")
SHAPES = ((1024, 1024, 1024), (2048, 2048, 2048), (4096, 576, 1536), (4096, 1536, 576))


def surroundings() -> dict[str, Any]:
    """Commit, machine and versions, so that a figure can be placed."""
    return {
        "commit": _git("rev-parse", "HEAD"),
        "changed_files": len((_git("status", "--porcelain") or "").splitlines()),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "cores_allowed": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "threads": torch.get_num_threads(),
        "clock": clock()[1],
        "matrix_products": asdict(decision()),
        "memory_bytes": psutil.virtual_memory().total,
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in LIBRARIES},
    }


def matmul_peak(dtype: torch.dtype, *, seconds: float = 2.0) -> float:
    """Floating-point operations a second: the best product among shapes large and like a layer's,
    with the threads torch now has. Measured beside the job, for a shared machine has no constant.
    """
    best = 0.0
    now, _ = clock()
    for m, k, n in SHAPES:
        a, b = torch.randn(m, k).to(dtype), torch.randn(n, k).to(dtype)
        torch.nn.functional.linear(a, b)
        until = time.perf_counter() + seconds / len(SHAPES)
        while time.perf_counter() < until:
            start = now()
            torch.nn.functional.linear(a, b)
            best = max(best, 2 * m * k * n / (now() - start))
    return best


def scoring_operations(config: Any, case: Classification) -> float:
    """Floating-point operations of the distinct tokens, every one computed once.

    Matrix products of the layers, attention over the tokens each one sees, and the output head at
    the places that predict a label's tokens. Norms, softmax and look-ups are left out.
    """
    width, layers = config.hidden_size, config.num_hidden_layers
    heads = config.num_attention_heads
    pairs = getattr(config, "num_key_value_heads", None) or heads
    size = getattr(config, "head_dim", None) or width // heads
    gated = getattr(config, "intermediate_size", None)  # gate, up and down; OPT has no gate
    feed_forward = 3 * width * gated if gated else 2 * width * config.ffn_dim
    layer = width * size * (2 * heads + 2 * pairs) + feed_forward
    tail = case.label_tokens - 1
    first = case.shared + case.input_tokens
    seen = case.shared * (case.shared + 1) / 2
    for start, count, times in (
        (case.shared, case.input_tokens, case.inputs),
        (first, tail, case.inputs * case.labels),
    ):
        seen += times * (count * start + count * (count + 1) / 2)
    predicting = case.inputs * (1 + case.labels * tail)
    return (
        2.0 * layers * layer * case.distinct_tokens
        + 4.0 * layers * heads * size * seen
        + 2.0 * width * config.vocab_size * predicting
    )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, cwd=Path(__file__).parent
        )
    except OSError:
        return None
    return done.stdout.strip() or None


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()
