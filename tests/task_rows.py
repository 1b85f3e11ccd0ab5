"""Rows and files for the tests of the task room."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SUBJECTS = (
    "parcel",
    "invoice",
    "password",
    "tent",
    "stove",
    "jacket",
    "map",
    "torch",
    "boot",
    "rope",
)
VERBS = (
    "lost",
    "broke",
    "changed",
    "ordered",
    "returned",
    "found",
    "paid",
    "locked",
    "sent",
    "sold",
)


def rows(count: int = 60, labels: Sequence[str] = ("a", "b", "c")) -> list[dict[str, Any]]:
    """Distinct messages: no two share a run of three words."""
    return [
        {
            "message": f"{SUBJECTS[n % 10]}{n} {VERBS[n // 10 % 10]}{n} on day {n} of week{n}",
            "queue": labels[n % len(labels)],
            "customer": f"c{n // 3}",
            "number": str(n),
        }
        for n in range(count)
    ]


def write_csv(path: Path, some: Sequence[Mapping[str, Any]], encoding: str = "utf-8") -> Path:
    """A CSV file with the columns of the first row."""
    with path.open("w", encoding=encoding, newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(some[0]))
        writer.writeheader()
        writer.writerows(some)
    return path


def write_task(folder: Path, *extra: str, data: str = "rows.csv") -> Path:
    """A task file over `message` and `queue`; `extra` lines replace keys of the same name."""
    keys = {
        "instruction": "instruction: Choose the queue.",
        "data": f"data: {data}",
        "input": "input: message",
        "target": "target: queue",
    }
    for line in extra:
        keys[line.split(":")[0]] = line
    path = folder / "task.yaml"
    path.write_text("\n".join(keys.values()) + "\n", "utf-8")
    return path


def task_file(folder: Path, some: Sequence[Mapping[str, Any]], *extra: str) -> Path:
    """A CSV file and a task file over it."""
    write_csv(folder / "rows.csv", some)
    return write_task(folder, *extra)
