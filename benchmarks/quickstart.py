"""What `make quickstart` runs, once installed: wall time, memory, and the table it ends in."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

COMMAND = [
    "compare", "routing", "--techniques", "zero-shot,few-shot,prefix,lora", "--seeds", "1",
    "--budget", "450ktok", "--json",
]  # fmt: skip


def run() -> dict[str, Any]:
    """A fresh run folder, the command line as a user calls it."""
    luthier = Path(sys.executable).with_name("luthier")
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        done = subprocess.run(
            [str(luthier), *COMMAND, "--out", f"{folder}/run"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        seconds = time.perf_counter() - start
    found = json.loads(done.stdout)
    return {
        "wall_seconds": seconds,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
        "rows": [
            {k: row[k] for k in ("technique", "status", "score", "seeds", "fit_seconds")}
            for row in found["rows"]
        ],
        "verdict": found["verdict"],
    }
