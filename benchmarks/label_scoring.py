"""Label scoring: shared prefixes and one row of labels, against every full sequence on its own.

The reference is what a plain harness does: tokenise prompt + label, one padded row each, batched
by length. Both sides run the same model in one process, in turn; log-probabilities must agree.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch

import luthier
from luthier.models.adaptation import Adaptation
from luthier.models.backend import ScoreRequest
from luthier.models.local.backend import LocalBackend
from luthier.models.prompt import Demonstration, Prompt, render

ROUNDS = 3


def full_sequences(backend: LocalBackend, requests: Sequence[ScoreRequest]) -> list[list[float]]:
    """Every prompt + label as a row of its own, 32 rows a batch, sorted by length."""
    tokenizer, module = backend.tokenizer, backend.module
    items = []
    for i, request in enumerate(requests):
        head = len(tokenizer(request.prompt.text).input_ids)
        for k, continuation in enumerate(request.continuations):
            ids = tokenizer(request.prompt.text + continuation).input_ids
            items.append((i, k, head, ids))
    items.sort(key=lambda item: -len(item[3]))
    out = [[0.0] * len(r.continuations) for r in requests]
    with torch.inference_mode():
        for at in range(0, len(items), 32):
            batch = items[at : at + 32]
            width = len(batch[0][3])
            ids = torch.tensor([b[3] + [0] * (width - len(b[3])) for b in batch])
            mask = torch.tensor([[1] * len(b[3]) + [0] * (width - len(b[3])) for b in batch])
            logs = torch.log_softmax(module(input_ids=ids, attention_mask=mask).logits.float(), -1)
            for row, (i, k, head, tokens) in enumerate(batch):
                targets = torch.tensor(tokens[head:]).unsqueeze(1)
                found = logs[row, head - 1 : len(tokens) - 1].gather(1, targets)
                out[i][k] = float(found.sum())
    return out


def run() -> dict[str, Any]:
    """Seconds and their ratio for zero-shot and for 16 fixed demonstrations, on the routing
    task."""
    model, task = luthier.load("nano"), luthier.Task.load("routing")
    backend = model.backend
    assert isinstance(backend, LocalBackend)
    inputs = [e.input for e in task.test[:8]]
    shown = tuple(Demonstration(e.input, e.target) for e in task.train[:16])
    jobs = {}
    for name, demonstrations in (("zero-shot", ()), ("few-shot, 16 demonstrations", shown)):
        prompt = Prompt(
            instruction=task.instruction, labels=task.labels, demonstrations=demonstrations
        )
        continuations = tuple(f" {label}" for label in task.labels)
        requests = [ScoreRequest(render(prompt, text), continuations) for text in inputs]
        ours, theirs = [], []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            mine = backend.score(requests, Adaptation())
            ours.append(time.perf_counter() - start)
            start = time.perf_counter()
            reference = full_sequences(backend, requests)
            theirs.append(time.perf_counter() - start)
        gap = max(
            abs(a - b)
            for result, row in zip(mine, reference, strict=True)
            for a, b in zip(result.logprobs, row, strict=True)
        )
        jobs[name] = {
            "requests": len(requests),
            "labels": len(continuations),
            "luthier_seconds": statistics.median(ours),
            "full_sequences_seconds": statistics.median(theirs),
            "ratio": statistics.median(t / o for t, o in zip(theirs, ours, strict=True)),
            "largest_log_probability_gap": gap,
        }
    return {"rounds": ROUNDS, "jobs": jobs}
