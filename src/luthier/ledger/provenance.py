"""Provenance: with which versions and on which machine a result was made."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Provenance:
    """Versions and machine. None: not installed, or unknown."""

    luthier: str | None = None
    python: str | None = None
    torch: str | None = None
    transformers: str | None = None
    peft: str | None = None
    platform: str | None = None
    cpu: str | None = None
    cpu_cores: int | None = None
    memory_bytes: int | None = None
    precision: str | None = None
    git_commit: str | None = None
    time: str | None = None


def provenance(*, precision: str | None = None) -> Provenance:
    """The versions and the machine of this process, found without importing a heavy package.
    `precision` is the number format of a local base's matrix products."""
    return Provenance(
        luthier=luthier_version(),
        python=platform.python_version(),
        torch=_installed("torch"),
        transformers=_installed("transformers"),
        peft=_installed("peft"),
        platform=platform.platform(),
        cpu=_cpu_name(),
        cpu_cores=os.cpu_count(),
        memory_bytes=_memory_bytes(),
        precision=precision,
        git_commit=_git_commit(),
        time=now(),
    )


def luthier_version() -> str:
    """The version that is installed; "0.0.0" when the package runs uninstalled."""
    return _installed("luthier") or "0.0.0"


def now() -> str:
    """The time in UTC, ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@lru_cache(maxsize=16)
def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_name() -> str | None:
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or None


def _memory_bytes() -> int:
    import psutil

    return int(psutil.virtual_memory().total)


def _git_commit() -> str | None:
    """The commit of the repository in the working folder, if any: it identifies the task file."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
