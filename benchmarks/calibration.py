"""Does a temperature mend the confidence of the bases? Before and after on three tasks.

    python -m benchmarks.calibration [TASK …] [--limit 300]

Labels are scored under the task's own prompt, without a fit. The temperature is fitted on dev, and
both errors are measured on test, in bins of equally many answers, with bootstrap intervals.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import luthier
from benchmarks.small_tasks import BANKING6, SmallTask, banking77, loaded
from luthier.probe.hallucination_map import scaled_reliability
from luthier.probe.reliability import Reliability, at_temperature, reliability
from luthier.probe.risk_coverage import risk_coverage
from luthier.probe.task_sample import drawn, label_logprobs
from luthier.training.starting_prompt import starting_model

TASKS = (
    SmallTask("routing", "nano", lambda: loaded("routing", train=400, dev=136, test=136)),
    SmallTask(
        "sst2", "nano", lambda: loaded("examples/sentiment.yaml", train=200, dev=150, test=400)
    ),
    SmallTask(
        "banking-6", "nano-reader", lambda: banking77(BANKING6, dev_count=150, test_count=240)
    ),
)
OUT = Path(__file__).parent / "results" / "plans" / "calibration.json"


def measure(task: SmallTask, limit: int) -> dict[str, Any]:
    """The calibration of a base on a task, before and after."""
    opened = task.make()
    model = starting_model(luthier.load(task.base), opened)
    labels = model.adaptation.decoding.labels
    examples = drawn(opened.test, limit, 0)
    logprobs = label_logprobs(model.answer(examples), labels)
    assert logprobs is not None
    chances = at_temperature(logprobs, 1.0)
    right = [
        float(labels[best] == e.target) for best, e in zip(chances.argmax(1), examples, strict=True)
    ]
    sure = [float(value) for value in chances.max(1)]
    before = reliability(sure, right)
    fitted = scaled_reliability(
        model, opened, logprobs, right, most=limit, measured_on="test", seed=0
    )
    assert before is not None
    assert fitted is not None
    temperature, after, used = fitted
    curve = risk_coverage(sure, right)
    return {
        "task": task.name, "base": task.base, "test": len(examples), "dev": used,
        "accuracy": sum(right) / len(right), "temperature": temperature,
        "before": _figures(before), "after": _figures(after),
        "aurc": None if curve is None else curve.aurc,
        "least_aurc": None if curve is None else curve.least,
    }  # fmt: skip


def _figures(found: Reliability) -> dict[str, Any]:
    return {
        "ece": found.ece.value, "low": found.ece.low, "high": found.ece.high,
        "floor": found.floor, "bias": found.bias, "bins": [asdict(b) for b in found.bins],
    }  # fmt: skip


def table(rows: list[dict[str, Any]]) -> str:
    """The figures as one Markdown table."""
    lines = [
        "| task | base | accuracy | error before [95 %] | error after [95 %] | a perfect base | "
        "temperature |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        before, after = row["before"], row["after"]
        lines.append(
            f"| {row['task']} | {row['base']} | {row['accuracy']:.3f} | {before['ece']:.3f} "
            f"[{before['low']:.3f}–{before['high']:.3f}] | {after['ece']:.3f} "
            f"[{after['low']:.3f}–{after['high']:.3f}] | {after['floor']:.3f} | "
            f"{row['temperature']:.2f} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Measure, write the figures, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tasks", nargs="*", choices=[*(t.name for t in TASKS), []])
    parser.add_argument("--limit", type=int, default=300)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    rows = (
        {r["task"]: r for r in json.loads(given.out.read_text("utf-8"))}
        if given.out.is_file()
        else {}
    )
    for task in TASKS:
        if task.name in (given.tasks or [t.name for t in TASKS]):
            rows[task.name] = measure(task, given.limit)
            given.out.parent.mkdir(parents=True, exist_ok=True)
            found = [rows[t.name] for t in TASKS if t.name in rows]
            given.out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(table([rows[t.name] for t in TASKS if t.name in rows]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
