"""What a piece of work took of this machine: seconds, and the most memory."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

EVERY_SECONDS = 0.05


class ResourceMonitor:
    """A context manager that afterwards has `seconds` and `peak_memory_bytes`.

    The memory is the highest resident size of this process or, where the work ran on a CUDA device,
    the most memory that torch allocated there.
    """

    seconds: float
    peak_memory_bytes: int | None

    def __init__(self) -> None:
        self.seconds = 0.0
        self.peak_memory_bytes = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        import psutil

        process = psutil.Process(os.getpid())
        self.peak_memory_bytes = int(process.memory_info().rss)
        self._thread = threading.Thread(target=self._watch, args=(process,), daemon=True)
        self._thread.start()
        cuda = _cuda()
        if cuda is not None:
            cuda.reset_peak_memory_stats()
        self._start = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.seconds = time.perf_counter() - self._start
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        cuda = _cuda()
        if cuda is not None and cuda.max_memory_allocated() > 0:
            self.peak_memory_bytes = int(cuda.max_memory_allocated())

    def _watch(self, process: Any) -> None:
        while True:
            self.peak_memory_bytes = max(self.peak_memory_bytes or 0, process.memory_info().rss)
            if self._stop.wait(EVERY_SECONDS):
                return


def release_memory() -> None:
    """Give what is freed back to the system, where the C library keeps it (glibc), so that a run's
    peak is not that of the runs before it."""
    gc.collect()
    if sys.platform.startswith("linux"):
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def _cuda() -> Any:
    """torch.cuda where torch is loaded already and has a device; else None."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() else None
