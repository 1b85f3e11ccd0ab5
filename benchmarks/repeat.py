"""Same seed, same machine, same predictions: every technique fitted twice with a small budget."""

from __future__ import annotations

from typing import Any

import luthier
from luthier.techniques.spelling import make

NAMES = ("zero-shot", "few-shot", "prompt-search", "soft-prompt", "prefix", "lora", "ia3", "full")
TOKENS = 60_000


def run() -> dict[str, Any]:
    """How many of the answers differ between two fits of one seed; it should be none."""
    task = luthier.Task.load("routing")
    questions = task.test[:60]
    differing = {}
    for name in NAMES:
        answers = []
        for _ in range(2):
            fitted = make(name).fit(
                luthier.load("nano"),
                task.without_test(),
                budget=luthier.Budget(tokens=TOKENS),
                seed=7,
            )
            answers.append([a.parsed for a in fitted.answer(questions)])
        differing[name] = sum(a != b for a, b in zip(*answers, strict=True))
    return {"budget_tokens": TOKENS, "answers": len(questions), "differing_answers": differing}
