"""A server under load for as long as you like: is its memory flat, is a request lost?

    python -m benchmarks.soak RUN --minutes 60

The first tenth is for warming up: caches fill, and pages of memory are taken once.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

CLIENTS = 8


def main() -> None:
    """Serve a run, ask, and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--minutes", type=float, default=60)
    options = parser.parse_args()
    with server(options.run) as (process, address):
        print(json.dumps(soak(process, address, seconds=60 * options.minutes), indent=2))


@contextmanager
def server(run: Path, *more: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`luthier serve` as a process of its own, on a free port, and its address."""
    command = [sys.executable, "-m", "luthier", "serve", str(run), "--port", "0", *more]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        address = ""
        for line in process.stderr:
            found = re.search(r"Serving at (http://\S+)/v1", line)
            if found:
                address = found[1]
                break
        threading.Thread(target=process.stderr.read, daemon=True).start()
        if not address:
            raise SystemExit(f"the server did not start (exit code {process.wait()})")
        while True:
            try:
                httpx.get(f"{address}/healthz")
                break
            except httpx.TransportError:
                time.sleep(0.05)
        try:
            yield process, address
        finally:
            process.terminate()
            process.wait()


def soak(
    process: subprocess.Popen[str], address: str, *, seconds: float | None = None,
    requests: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Ask for so long, or so often: requests, failures, and memory after each tenth and at the
    end."""
    names = [m["id"] for m in httpx.get(f"{address}/v1/models").json()["data"]]
    started, count, answered = time.monotonic(), 0, 0
    lost, lock = list[str](), threading.Lock()
    memory = psutil.Process(process.pid)
    tenths: list[int] = []

    def share() -> float:
        by_count = 0.0 if requests is None else count / requests
        return max(by_count, 0.0 if seconds is None else (time.monotonic() - started) / seconds)

    def client() -> None:
        nonlocal count, answered
        with httpx.Client(timeout=120) as web:
            while share() < 1:
                with lock:
                    number, count = count, count + 1
                    if share() > (len(tenths) + 1) / 10:
                        tenths.append(memory.memory_info().rss)
                text = f"request {number % 977} about a parcel and a refund"
                body = {
                    "model": names[number % len(names)],
                    "messages": [{"role": "user", "content": text}],
                }
                try:
                    reply = web.post(f"{address}/v1/chat/completions", json=body)
                    if reply.status_code != 200:
                        lost.append(f"{reply.status_code}: {reply.text[:200]}")
                    else:
                        with lock:
                            answered += 1
                except httpx.HTTPError as error:
                    lost.append(repr(error))

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    last = memory.memory_info().rss
    return {
        "requests": count,
        "answered": answered,
        "lost": lost,
        "seconds": time.monotonic() - started,
        "memory_bytes": {"tenths": tenths, "end": last},
        "growth": last / tenths[0] - 1 if tenths else None,
    }


if __name__ == "__main__":
    main()
