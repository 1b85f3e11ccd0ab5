"""Run the benchmarks by name, or all: `python -m benchmarks [quickstart] [label-scoring]
[repeat]`."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import label_scoring, quickstart, repeat

BENCHMARKS = {
    "label-scoring": label_scoring.run,
    "quickstart": quickstart.run,
    "repeat": repeat.run,
}
RESULTS = Path(__file__).parent / "results"


def surroundings() -> dict[str, Any]:
    """Commit and machine, so that a figure can be placed."""
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=RESULTS.parent
    ).stdout.strip()
    model = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":", 1)[1].strip() if names else model
    return {
        "commit": commit or None,
        "cpu": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def main() -> int:
    """Run what was named; exit 2 for a name that is no benchmark."""
    names = sys.argv[1:] or list(BENCHMARKS)
    unknown = [n for n in names if n not in BENCHMARKS]
    if unknown:
        print(f"No benchmark {unknown[0]!r}. Choices: {', '.join(BENCHMARKS)}.", file=sys.stderr)
        return 2
    RESULTS.mkdir(exist_ok=True)
    for name in names:
        print(f"{name} …", file=sys.stderr)
        figures = {"benchmark": name, **surroundings(), **BENCHMARKS[name]()}
        text = json.dumps(figures, indent=2) + "\n"
        (RESULTS / f"{name}.json").write_text(text, "utf-8")
        print(text, end="")
    return 0


sys.exit(main())
