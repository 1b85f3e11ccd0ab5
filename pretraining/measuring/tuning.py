"""LoRA on 500 labelled messages of banking77, all 77 intents, by Luthier's own technique."""

from __future__ import annotations

import random
from pathlib import Path


def measure(
    folder: Path, data: Path, *, examples: int = 500, queries: int = 600, tokens: int, seed: int
) -> list[bool]:
    """Hits on test messages after a fit of ``tokens`` forward-token equivalents.

    The examples (a fifth of them dev) are drawn from the training file, the queries from the test
    file; settings are the technique's defaults.
    """
    import luthier

    draw = random.Random(f"{seed}/lora")
    rows = {}
    for name, count in (("train", examples), ("test", queries)):
        rows[name] = _drawn(data / f"data/banking77/{name}.csv", draw, count)
    cut = examples // 5
    labels = sorted({r["label"] for r in _drawn(data / "data/banking77/test.csv", draw, None)})
    task = luthier.Task.from_examples(
        {"train": rows["train"][cut:], "dev": rows["train"][:cut], "test": rows["test"]},
        name="banking77",
        instruction="Classify the customer's message.",
        input="text",
        target="label",
        labels=labels,
        leaks="keep",
    )
    model = luthier.load(str(folder))
    budget = luthier.Budget(tokens=tokens)
    fitted = luthier.LoRA().fit(model, task.without_test(), budget=budget, seed=seed)
    answers = fitted.answer(task.test)
    return [a.prediction == e.target for a, e in zip(answers, task.test, strict=True)]


def _drawn(path: Path, draw: random.Random, count: int | None) -> list[dict[str, str]]:
    import csv

    with path.open(encoding="utf-8", newline="") as lines:
        rows = [
            {"text": " ".join(r["text"].split()), "label": r["category"]}
            for r in csv.DictReader(lines)
        ]
    return rows if count is None else draw.sample(rows, count)
