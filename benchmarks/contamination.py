"""Is planted contamination found, and is nothing found where there is none?

`python -m benchmarks.contamination [--repeats 40] [--out FILE]` trains tiny Llamas on test sets of
the bundled messages for n = 1, 4 and 16 passes and probes each. Two kinds of models are clean: one
that has met none of the task's rows, and one that has read other rows of the same kind 16 times.
It prints how often the probe says "found" in each case, with Wilson's interval, and which tests
found it. Exit 1 where 16 passes are found in fewer than 95 %, or clean models in more than 5 %.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.planted import model_of, tokenizer_of, trained, untrained
from luthier.models.model import Model
from luthier.probe.contamination import LEAST_RECITED, Contamination, measure_contamination
from luthier.probe.contamination_tests import row_text
from luthier.probe.probe_request import ProbeLimits, ProbeRequest
from luthier.records import Example
from luthier.scoring.statistics.intervals import wilson
from luthier.task.bundled import bundled_rows
from luthier.task.task import Task

BASES, BACKGROUND, TEST, OTHERS = 4, 280, 40, 80
PASSES = (1, 4, 16)
LEAST_FOUND, MOST_FALSE = 0.95, 0.05


CASES = (
    "clean: none of its rows",
    "clean: other rows, 16 passes",
    *(f"test set, {n} passes" for n in PASSES),
)
Row = dict[str, Any]


def main() -> int:
    """Exit 1 where a promise is missed."""
    options = argparse.ArgumentParser()
    options.add_argument("--repeats", type=int, default=40)
    options.add_argument("--out", type=Path, help="keep each repeat here, and go on from it")
    given = options.parse_args()
    known: list[Row] = []
    if given.out is not None and given.out.is_file():
        known = [json.loads(line) for line in given.out.read_text("utf-8").splitlines()]
    started = time.perf_counter()
    for number in range(BASES):
        missing = [
            repeat for repeat in range(number, given.repeats, BASES)
            if repeat not in {row["repeat"] for row in known}
        ]  # fmt: skip
        if missing:
            for row in of_one_base(number, missing):
                known.append(row)
                print(f"{len(known)} of {given.repeats}, {time.perf_counter() - started:.0f} s",
                      file=sys.stderr)  # fmt: skip
                if given.out is not None:
                    with given.out.open("a", encoding="utf-8") as lines:
                        lines.write(json.dumps(row) + "\n")
    return show(known)


def of_one_base(number: int, repeats: Sequence[int]) -> Iterator[Row]:
    """One base and its repeats: in each other rows are the test set."""
    rows = [
        Example(str(row["id"]), str(row["message"]), str(row["queue"]))
        for row in bundled_rows("routing")
    ]
    random.Random(number).shuffle(rows)
    background, pool = rows[:BACKGROUND], rows[BACKGROUND:]
    texts = [row_text(row) for row in background]
    tokenizer = tokenizer_of(texts)
    base = trained(untrained(tokenizer, number), tokenizer, texts, epochs=4, seed=number)
    for repeat in repeats:
        started = time.process_time()
        dealt = random.Random(repeat).sample(pool, TEST + OTHERS)
        test, others = dealt[:TEST], dealt[TEST:]
        met = [row_text(row) for row in random.Random(repeat).sample(background, TEST)]
        modules = [base, trained(base, tokenizer, met, epochs=PASSES[-1], seed=repeat)]
        file, before = [row_text(row) for row in test], 0
        for passes in PASSES:
            start = base if not before else modules[-1]
            modules.append(trained(start, tokenizer, file, epochs=passes - before, seed=repeat))
            before = passes
        results = [probe(model_of(m, tokenizer, "tiny"), test, others, repeat) for m in modules]
        yield {
            "repeat": repeat,
            "seconds": time.process_time() - started,
            "cases": {name: _plain(r) for name, r in zip(CASES, results, strict=True)},
        }


def _plain(result: Contamination) -> Row:
    return {
        "verdict": result.verdict,
        "p": {test.name: test.p_value for test in result.tests},
        "found": [test.name for test in result.tests if test.found],
        "recited": len(result.recited),
    }


def show(known: Sequence[Row]) -> int:
    """Print the table; 1 where a promise is missed."""
    print("| model | found | rate [95 %] | by |\n|---|---|---|---|")
    rates = []
    for name in CASES:
        results = [row["cases"][name] for row in known]
        found = sum(result["verdict"] == "found" for result in results)
        by = Counter(test for result in results for test in result["found"])
        by["recited"] = sum(result["recited"] >= LEAST_RECITED for result in results)
        tests = ", ".join(f"{test} {n}" for test, n in by.most_common() if n)
        low, high = wilson(found, len(results))
        rates.append(found / len(results))
        print(f"| {name} | {found} of {len(results)} | {rates[-1]:.3f} [{low:.3f}–{high:.3f}] | "
              f"{tests or '–'} |")  # fmt: skip
    print(f"\n{len(known)} repeats, {sum(row['seconds'] for row in known):.0f} s of processor time")
    return int(rates[-1] < LEAST_FOUND or (rates[0] + rates[1]) / 2 > MOST_FALSE)


def probe(model: Model, test: list[Example], others: list[Example], seed: int) -> Contamination:
    """One probe of a model with a task of these rows."""
    task = Task.from_examples(
        {"train": others[:-20], "dev": others[-20:], "test": test},
        name="routing", instruction="Route the message.", kind="classify",
    )  # fmt: skip
    request = ProbeRequest(task=task, limits=ProbeLimits(examples=TEST), seed=seed)
    return measure_contamination(model, request)


if __name__ == "__main__":
    sys.exit(main())
