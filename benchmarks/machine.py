"""The machine: what it is, and how fast it multiplies."""

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

from benchmarks.measure import clock
from luthier.engine import matmul_precision

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
        "matmul_precision": asdict(matmul_precision()),
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
