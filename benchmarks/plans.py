"""What `--plan` says against what a comparison then takes: memory and time, a technique at a time.

    python -m benchmarks.plans [TECHNIQUE …]
    python -m benchmarks.plans --replan          (the stored measurements against today's plan)

Each technique runs alone in a process with one thread, on the bundled task with nano. Time is
processor time, so that a busy machine does not count; memory is the highest resident size. The
promise is a factor of 1.25 for memory and of 1.5 for time. Results go to benchmarks/results/.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TECHNIQUES = ("zero-shot", "few-shot", "soft-prompt", "prefix", "lora", "full")
TOKENS = 60_000
RESULTS = Path(__file__).parent / "results" / "plans" / "plans.json"
MEMORY_FACTOR, TIME_FACTOR = 1.25, 1.5


def measure(technique: str) -> dict[str, Any]:
    """Plan and run one technique here. Loading and planning are over before the clock starts."""
    from luthier.compare.options import Options
    from luthier.compare.run_comparison import compare

    began: list[float] = []

    class Starts:
        def planned(self, plan: Any, folder: Path) -> None:
            began.append(time.process_time())

        def progressed(self, progress: Any) -> None: ...

        def ended(self, technique: str, run: Any, *, from_ledger: bool) -> None: ...

    with tempfile.TemporaryDirectory() as folder:
        made = compare(
            "routing", "nano", techniques=technique, budget=f"{TOKENS}tok", seeds=1,
            out=f"{folder}/run", options=Options(references=False, listener=Starts()),
        )  # fmt: skip
    estimate = made.plan.techniques[0].estimate
    return {
        "technique": technique,
        "tokens": TOKENS,
        "planned_seconds": estimate.seconds,
        "seconds": time.process_time() - began[0],
        "planned_bytes": estimate.peak_memory_bytes,
        "bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "planned_epochs": estimate.epochs,
        "epochs": made.results[0].epochs,
        "tokens_per_second": made.plan.tokens_per_second,
        "status": made.results[0].status,
    }


def replanned(rows: dict[str, Any]) -> dict[str, Any]:
    """The rows with what the plan says now, at the speed that was measured then."""
    from luthier.compare.options import Options
    from luthier.compare.run_comparison import compare

    found = {}
    for technique, row in rows.items():
        with tempfile.TemporaryDirectory() as folder:
            plan = compare(
                "routing", "nano", techniques=technique, seeds=1, out=f"{folder}/run",
                budget=f"{row['tokens']}tok", options=Options(references=False, plan_only=True),
            ).plan  # fmt: skip
        estimate = plan.techniques[0].estimate
        slower = (plan.tokens_per_second or 1.0) / row["tokens_per_second"]
        found[technique] = {
            **row,
            "planned_seconds": (estimate.seconds or 0.0) * slower,
            "planned_bytes": estimate.peak_memory_bytes,
            "planned_epochs": estimate.epochs,
        }
    return found


def apart(planned: float, measured: float) -> float:
    """By which factor a plan is off, whichever way; 1 or more."""
    return max(planned / measured, measured / planned)


def main(techniques: list[str]) -> int:
    """Run each in a process of its own, print the table, store it."""
    rows = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {}
    if techniques == ["--replan"]:
        rows = replanned(rows)
        RESULTS.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
        return show(rows)
    for technique in techniques or TECHNIQUES:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.plans", "--one", technique],
            stdout=subprocess.PIPE, text=True, check=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        rows[technique] = json.loads(done.stdout.splitlines()[-1])
        RESULTS.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    return show(rows)


def show(rows: dict[str, Any]) -> int:
    """Print the table; 1 where a promise is missed."""
    print(f"{'technique':<14}{'GB planned':>11}{'GB':>7}{'×':>6}{'s planned':>11}{'s':>7}{'×':>6}")
    missed = 0
    for name, row in rows.items():
        memory = apart(row["planned_bytes"], row["bytes"])
        seconds = apart(row["planned_seconds"], row["seconds"])
        missed += (memory > MEMORY_FACTOR) + (seconds > TIME_FACTOR)
        print(
            f"{name:<14}{row['planned_bytes'] / 1e9:>11.2f}{row['bytes'] / 1e9:>7.2f}{memory:>6.2f}"
            f"{row['planned_seconds']:>11.1f}{row['seconds']:>7.1f}{seconds:>6.2f}"
        )
    print(f"{missed} of {2 * len(rows)} are further off than {MEMORY_FACTOR} (memory) or "
          f"{TIME_FACTOR} (time).")  # fmt: skip
    return 1 if missed else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(sys.argv[2])))
    else:
        sys.exit(main(sys.argv[1:]))
