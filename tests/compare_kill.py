"""Run by tests/attacks/test_kills.py in a process of its own: a comparison killed ten times.

    python compare_kill.py FOLDER SEED

Everything heavy is imported once; each attempt is a fork that runs `compare` until SIGKILL hits it.
Prints one JSON object: the table of the undisturbed comparison, that of the killed one, how often a
kill hit, and what was done twice.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from compare_stubs import Drawn, toy_task  # type: ignore[import-not-found, unused-ignore]

from luthier.compare import Comparison, Options, compare
from luthier.ledger.run_ledger import Ledger
from luthier.models.load import load
from luthier.records import Budget

KILLS = 10


def table(comparison: Comparison) -> list[Any]:
    """What must be the same: everything that is no measured time, memory or date."""
    return [
        [
            row.technique,
            row.status,
            [row.score.value, row.score.low, row.score.high],
            row.parse_rate.value,
            row.best_seed,
            row.cost.fit_tokens,
            row.cost.tokens_per_request,
            [
                [run.seed, run.dev_score, [j.prediction for j in run.sample_scores]]
                for run in row.runs
            ],
        ]
        for row in comparison.results
    ] + [
        [comparison.verdict.pick, comparison.verdict.tied_with, comparison.verdict.because],
        [[t.first, t.second, t.p_adjusted] for t in comparison.tests],
        [[p.technique, p.fraction, p.train_examples, p.score.value] for p in comparison.curve],
    ]


def run(out: Path, diary: Path, pause: float) -> Comparison:
    """The same question each time; the stub writes into its diary what it does."""
    techniques = ["zero-shot", Drawn(pause=pause, diary=str(diary)), Drawn(3, 2, pause, str(diary))]
    return compare(
        toy_task(),
        load("fake"),
        techniques=techniques,
        budget=Budget(tokens=1_000_000),
        out=out,
        options=Options(curve=(0.5,)),
    )


def finished(out: Path) -> set[str]:
    """Keys of the runs that the ledger holds finished."""
    if not (out / "ledger.sqlite").is_file():
        return set()
    with Ledger(out / "ledger.sqlite") as store:
        rows = [store.run(m.key) for c in store.comparisons() for m in store.planned_runs(c.id)]
    return {row.key for row in rows if row is not None and row.status == "finished"}


def started(out: Path) -> dict[str, str]:
    """When each finished run was started: a run that is done again has another time."""
    with Ledger(out / "ledger.sqlite") as store:
        rows = [store.run(m.key) for c in store.comparisons() for m in store.planned_runs(c.id)]
    return {r.key: r.started for r in rows if r is not None and r.status == "finished"}


def main() -> None:
    folder, rng = Path(sys.argv[1]), random.Random(int(sys.argv[2]))
    pause, diary = 0.02, folder / "diary"
    run(folder / "warm", diary, pause)  # what is imported on the way counts for nobody
    begin = time.monotonic()
    whole = run(folder / "whole", diary, pause)
    usual = time.monotonic() - begin
    diary.unlink()
    out = folder / "killed"
    hits = 0
    twice: list[str] = []
    for _ in range(KILLS):
        before = started(out) if finished(out) else {}
        child = os.fork()
        if child == 0:
            run(out, diary, pause)
            os._exit(0)
        time.sleep(rng.uniform(0.0, usual / 6))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        hits += os.WIFSIGNALED(status)
        after = started(out) if finished(out) else {}
        twice += [key for key, when in before.items() if after.get(key) != when]
    done = run(out, diary, pause)
    again = run(out, diary, pause)
    steps = diary.read_text("utf-8").splitlines()
    print(
        json.dumps(
            {
                "whole": table(whole),
                "killed": table(done),
                "again": table(again),
                "hits": hits,
                "twice": twice,
                "fits": sum(line.startswith("fitted") for line in steps),
                "scratch": [str(p) for p in (out / "artifacts").glob("tmp-*")],
            }
        )
    )


if __name__ == "__main__":
    main()
