"""Five tasks with plain references: what docs/results.md is made of.

    python -m benchmarks.five_tasks [--folder build/five-tasks] [TASK …]
    python -m benchmarks.five_tasks --table

Four public tasks from $LUTHIER_DATA, cut to a size that a core can fit, and the bundled one; nano,
three seeds, and a budget that lets every fit see the training examples three times: the default,
and where the default would be ten minutes on a busy machine, as many tokens as the plan names. It
can be killed at any moment and goes on when it is called again. `--table` writes what has finished.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import luthier
from luthier.compare.comparison import Comparison
from luthier.compare.options import Options
from luthier.compare.run_comparison import compare
from luthier.records import Budget, Example
from luthier.task.task import Task

TECHNIQUES = "zero-shot,few-shot,linear-probe,lora"
SEEDS = 3
TRAIN, DEV, TEST = 300, 90, 200
BUDGETS = {"banking77": Budget(tokens=1_050_000), "routing": Budget(tokens=2_300_000)}
LABELS = 15  # of the tasks with very many: the first in the alphabet
RESULTS = Path(__file__).parent / "results" / "plans" / "five_tasks.json"


def _data(*parts: str) -> Path:
    return Path(os.environ["LUTHIER_DATA"], *parts)


def sst2() -> Task:
    """Sentiment of film reviews."""
    return _cut(Task.load("examples/sentiment.yaml"))


def sentfin() -> Task:
    """Sentiment of financial headlines."""
    task = Task.load("examples/headlines.yaml", allow_code=True)
    return _cut(replace(task, spec=replace(task.spec, scorer="accuracy")))


def banking77() -> Task:
    """Intents of bank customers, 15 of 77."""
    with _data("banking77", "train.csv").open(encoding="utf-8") as file:
        train = [(r["text"], r["category"]) for r in csv.DictReader(file)]
    with _data("banking77", "test.csv").open(encoding="utf-8") as file:
        test = [(r["text"], r["category"]) for r in csv.DictReader(file)]
    return _of_rows("banking77", "Choose the intent of this message to a bank.", train, test)


def clinc150() -> Task:
    """Intents of requests to an assistant, 15 of 150."""
    found = json.loads(_data("clinc150", "data_full.json").read_text("utf-8"))
    train = [(text, label) for text, label in (*found["train"], *found["val"])]
    return _of_rows(
        "clinc150", "Choose the intent of this request to an assistant.", train,
        [(text, label) for text, label in found["test"]],
    )  # fmt: skip


def routing() -> Task:
    """The bundled task, whole."""
    return Task.load("routing")


TASKS: dict[str, Callable[[], Task]] = {
    "sst2": sst2, "sentfin": sentfin, "clinc150": clinc150, "banking77": banking77,
    "routing": routing,
}  # fmt: skip


def _of_rows(
    name: str, instruction: str, train: Iterable[tuple[str, str]], test: Iterable[tuple[str, str]]
) -> Task:
    train, test = list(train), list(test)
    labels = set(sorted({label for _, label in train})[:LABELS])

    def examples(rows: list[tuple[str, str]], split: str) -> list[Example]:
        kept = [(text, label) for text, label in rows if label in labels]
        return [Example(f"{split}{i}", text, label) for i, (text, label) in enumerate(kept)]

    known = random.Random(0).sample(examples(train, "train"), TRAIN + DEV)
    asked = random.Random(0).sample(examples(test, "test"), TEST)
    splits = {"train": known[:TRAIN], "dev": known[TRAIN:], "test": asked}
    return Task.from_examples(
        splits, name=name, instruction=instruction, kind="classify", labels=sorted(labels)
    )


def _cut(task: Task) -> Task:
    def some(examples: tuple[Example, ...], count: int) -> tuple[Example, ...]:
        drawn = random.Random(0).sample(examples, min(count, len(examples)))
        return tuple(drawn)

    splits = {
        "train": some(task.train, TRAIN),
        "dev": some(task.dev, DEV),
        "test": some(task.test, TEST),
    }
    return Task.from_examples(
        splits, name=task.name, instruction=task.instruction, kind="classify",
        labels=list(task.labels),
    )  # fmt: skip


def table(folder: Path) -> str:
    """The finished comparisons as one Markdown table, and the file of their figures."""
    made = {
        name: Comparison.load(folder / name)
        for name in TASKS
        if (folder / name / "ledger.sqlite").is_file()
    }
    lines, figures = [], {}
    for name, comparison in made.items():
        rows = [*comparison.results, *comparison.references]
        figures[name] = without_paths(comparison.to_json())
        for row in rows:
            score = row.score
            if score.value is None:
                continue
            seeds = sum(run.status == "finished" for run in row.runs)
            passes = "–" if row.epochs is None else f"{row.epochs:.1f}"
            mark = " ◄" if row.technique == comparison.verdict.pick else ""
            lines.append(
                f"| {name} | {row.technique}{mark} | {score.value:.3f} [{score.low:.3f}–"
                f"{score.high:.3f}] | {seeds} | {passes} |"
            )
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", "utf-8")
    head = ["| task | technique | accuracy [95 %] | seeds | passes |", "|---|---|---|---|---|"]
    return "\n".join([*head, *lines])


def without_paths(value: Any) -> Any:
    """A JSON value without what says where a machine keeps its files."""
    if isinstance(value, dict):
        return {k: without_paths(v) for k, v in value.items() if k != "path"}
    return [without_paths(v) for v in value] if isinstance(value, list) else value


def main() -> int:
    """Run what is asked for, or print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("tasks", nargs="*", choices=[*TASKS, []])
    parser.add_argument("--folder", type=Path, default=Path("build/five-tasks"))
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    if given.table:
        print(table(given.folder))
        return 0
    model = luthier.load("nano")
    for name in given.tasks or TASKS:
        made = compare(
            TASKS[name](), model, techniques=TECHNIQUES, budget=BUDGETS.get(name), seeds=SEEDS,
            out=given.folder / name, options=Options(),
        )  # fmt: skip
        print(name, made.verdict.pick, made.verdict.because, made.verdict.reference, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
