"""A soft prompt against demonstrations on one base: five tasks, equal budgets, paired.

    python -m benchmarks.soft_prompts [--model nano-reader] [--tokens 600000] [--folder FOLDER]

Each fit gets `--tokens`; one seed. The difference is soft prompt minus few-shot on the same test
examples with its 95 % interval. It can be killed and goes on when it is called again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import luthier
from benchmarks.small_tasks import BANKING6, banking77, clinc150, loaded
from luthier.compare.run_comparison import compare

RESULTS = Path(__file__).parent / "results" / "plans" / "soft_prompts.json"
SHOTS, SOFT = "few-shot", "soft-prompt"
TASKS = {
    "banking77, six intents": lambda: banking77(BANKING6, train_count=300, test_count=240),
    "clinc150, work": lambda: clinc150("work", train_count=300, test_count=300),
    "clinc150, credit cards": lambda: clinc150("credit_cards", train_count=300, test_count=300),
    "sst2": lambda: loaded("examples/sentiment.yaml", train=300, dev=90, test=300),
    "sentfin": lambda: loaded("examples/headlines.yaml", accuracy=True, train=300, test=300),
}


def main() -> None:
    """Run what is missing, print a line for each task, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="nano-reader")
    parser.add_argument("--tokens", type=int, default=600_000)
    parser.add_argument("--folder", type=Path, default=Path("build/soft-prompts"))
    given = parser.parse_args()
    model, found = luthier.load(given.model), {}
    for name, make in TASKS.items():
        done = compare(
            make(), model, techniques=[SHOTS, SOFT], budget=luthier.Budget(tokens=2 * given.tokens),
            seeds=1, out=given.folder / name.replace(", ", "-").replace(" ", "-"),
        )  # fmt: skip
        scores = {row.technique: row.score.value for row in done.results}
        test = done.tests[0]
        sign = 1 if test.first == SOFT else -1
        low, high = sorted((sign * (test.low or 0.0), sign * (test.high or 0.0)))
        found[name] = {
            **scores,
            "difference": sign * test.difference,
            "low": low,
            "high": high,
            "p": test.p_adjusted,
            "examples": test.examples,
        }
        print(json.dumps({name: found[name]}), flush=True)
    above = sum(row["low"] > 0 for row in found.values())
    print(f"{SOFT} above {SHOTS}, interval without 0: {above} of {len(found)}")
    RESULTS.write_text(json.dumps({"model": str(given.model), "tokens": given.tokens, **found},
                                  indent=1) + "\n")  # fmt: skip


if __name__ == "__main__":
    main()
