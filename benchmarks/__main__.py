"""Run the jobs by name, or all of the table: `python -m benchmarks [JOB ...]`.

Each job writes benchmarks/results/JOB.json; the table shows what this run measured.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

# Where each job lives. Imported when run: a missing peer must not keep the others from running.
JOBS = {
    "few-shot": "scoring:few_shot",
    "zero-shot": "scoring:zero_shot",
    "prompt-tuning": "tuning:same_dev_loss",
    "trials": "trials:eight_trials",
    "suffix": "tuning:long_inputs",
    "lora": "lora:variable_lengths",
    "dpo": "preferences:pairs",
    "mixed": "mixed:queue",
    "whole": "whole:comparison",
    "growth": "growth:run",
}
# Run by name only: they measure Luthier alone and take minutes.
OTHERS = {"quickstart": "quickstart:run", "repeat": "repeat:run"}
RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Exit 2 for a name that is no job, 1 where a job failed; a missed ratio is a result."""
    names = sys.argv[1:] or list(JOBS)
    known = JOBS | OTHERS
    unknown = [n for n in names if n not in known]
    if unknown:
        choices = ", ".join(known)
        print(f"No benchmark {unknown[0]!r}. Choices: {choices}.", file=sys.stderr)
        return 2
    if missing := [n for n in ("lm_eval", "trl", "matplotlib") if not _there(n)]:
        print(
            f"The peers are not installed here ({', '.join(missing)} missing). "
            "`make bench` puts them into benchmarks/.venv and runs the jobs there.",
            file=sys.stderr,
        )
        return 2
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from benchmarks.table import show

    records: list[dict[str, Any]] = []
    failed = False
    for name in names:
        print(f"{name} …", file=sys.stderr, flush=True)
        start = time.perf_counter()
        try:
            found = run(name, known[name])
        except Exception as error:  # a peer that breaks must not lose what others measured
            print(f"{name} failed: {type(error).__name__}: {error}", file=sys.stderr)
            failed = True
            continue
        print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
        records += found
    show(records)
    return 1 if failed else 0


def run(name: str, where: str) -> list[dict[str, Any]]:
    """Run one job and write its file."""
    from benchmarks.machine import surroundings

    module, function = where.split(":")
    package = "benchmarks.jobs" if name in JOBS else "benchmarks"
    found = getattr(importlib.import_module(f"{package}.{module}"), function)()
    records = [] if isinstance(found, dict) else [m.record() for m in found]
    body = found if isinstance(found, dict) else {"lines": records}
    write(RESULTS / f"{name}.json", {"benchmark": name, **surroundings(), **body})
    return records


def write(path: Path, figures: dict[str, Any]) -> None:
    """In one rename, so that a killed run leaves the old file or the new one."""
    path.parent.mkdir(exist_ok=True)
    scratch = path.with_suffix(".part")
    scratch.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n", "utf-8")
    os.replace(scratch, path)


def _there(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


if __name__ == "__main__":
    sys.exit(main())
