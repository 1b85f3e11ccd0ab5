"""One comparison of four techniques on nano, against the same techniques one by one with peers.

Our side is `luthier.compare` as a user calls it, everything that it does included: the search over
prompts, the fits, the test split, latency, the ledger. What it asked the model is written down, and
the harness is asked the same: a prompt's requests through its HF backend, soft prompt and LoRA
trained by PEFT under the Trainer for as many steps as ours took, and asked about the test split.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import luthier
from benchmarks.cases import nano
from benchmarks.fitting import TrainingSetup, steps_by_trial
from benchmarks.measure import Equality, Measurement, Ratio, Side, timed
from benchmarks.peers import trainer
from luthier.compare.comparison import Comparison
from luthier.models.adaptation import Adaptation
from luthier.models.backend import ScoreRequest, ScoreResult
from luthier.models.model import Model
from luthier.models.prompt import Rendered
from luthier.records import Budget
from luthier.task.task import Task
from luthier.techniques.adapter.lora import LoRA
from luthier.techniques.soft.soft_prompt import SoftPrompt

BUDGET = 240_000  # tokens for everything; a quarter for each technique
# Begun at the labels: what PEFT can begin at as well.
SOFT = SoftPrompt(tokens=8, init="labels", batch_size=16)
TECHNIQUES = ("zero-shot", "few-shot", SOFT.name, "lora")
# The peer is asked one in so many of the requests, drawn at random: all would take a quarter of an
# hour.
ONE_IN = {"zero-shot": 6, "few-shot": 24}
TOLERANCE = 1e-3  # nats, of a label's log-probability


@dataclass
class Asked:
    """What the model was asked by kind of adaptation, equal requests once, and what it said."""

    found: dict[str, dict[tuple[str, tuple[str, ...]], ScoreResult]] = field(default_factory=dict)

    def note(
        self, requests: Sequence[ScoreRequest], adaptation: Adaptation, results: list[ScoreResult]
    ) -> None:
        """Labels only: texts that measure forgetting are nothing a peer would be asked."""
        kind = kind_of(adaptation)
        for request, result in zip(requests, results, strict=True):
            if len(request.continuations) > 1:
                key = (request.prompt.text, tuple(request.continuations))
                self.found.setdefault(kind, {}).setdefault(key, result)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """To every call of nano's `score`."""
        backend = nano()
        score = backend.score

        def noted(requests: Sequence[ScoreRequest], adaptation: Adaptation) -> list[ScoreResult]:
            results = score(requests, adaptation)
            self.note(requests, adaptation, results)
            return results

        backend.score = noted  # type: ignore[method-assign]
        try:
            yield
        finally:
            del backend.score  # type: ignore[method-assign]


def kind_of(adaptation: Adaptation) -> str:
    """The technique behind a request."""
    if adaptation.adapter is not None:
        return "lora"
    if adaptation.soft_prompt is not None:
        return "soft-prompt"
    return "few-shot" if adaptation.prompt.demonstrations else "zero-shot"


def comparison() -> Sequence[Measurement]:
    """One round: the peer's takes minutes."""
    task = Task.load("routing")
    asked = Asked()
    with asked.listening():
        seconds, result = timed(lambda: ours(task))
    # A row names the settings that are not a technique's own defaults.
    chosen = {row.technique.split("(")[0]: row.runs[0] for row in result.results}
    for row in result.results:
        if row.status != "finished":
            raise RuntimeError(f"{row.technique} ended as {row.status}: {row.reason}")
    parts = [prompts(asked, kind) for kind in ("zero-shot", "few-shot")]
    parts.append(trained("soft-prompt", task, asked, chosen["soft-prompt"].fit))
    parts.append(trained("lora", task, asked, chosen["lora"].fit))
    total = sum(p["seconds"] for p in parts)
    return [
        Ratio(
            job="a whole comparison",
            peer_name="lm-eval harness, PEFT + Trainer, one by one",
            unit="comparison",
            must_be=5.0,
            ours=Side(
                (seconds,),
                1,
                settings={"budget_tokens": BUDGET, "seeds": 1},
                notes={
                    "fit_seconds": {r.technique: r.runs[0].fit.fit_seconds for r in result.results},
                    "accuracy": {r.technique: r.score.value for r in result.results},
                },
            ),
            peer=Side((total,), 1, notes={"parts": {p["technique"]: p for p in parts}}),
            equality=Equality(
                "log-probabilities of the labels of zero-shot and few-shot, nats; soft prompt and "
                "LoRA train differently for the same steps: their accuracies are noted",
                max(p["gap"] for p in parts if p["gap"] is not None),
                TOLERANCE,
            ),
            setting={"model": "nano", "task": task.name, "techniques": list(TECHNIQUES)},
        )
    ]


def ours(task: Task) -> Comparison:
    """In a fresh run folder: nothing is found done."""
    with tempfile.TemporaryDirectory() as folder:
        return luthier.compare(
            task,
            Model(nano()),
            techniques=[SOFT if t == SOFT.name else t for t in TECHNIQUES],
            budget=Budget(tokens=BUDGET),
            seeds=1,
            out=f"{folder}/run",
        )


def prompts(asked: Asked, technique: str) -> dict[str, Any]:
    """The harness on the requests of a prompt, with the fastest batch of three sizes."""
    found = asked.found[technique]
    keys = list(found)
    sample = random.Random(0).sample(keys, len(keys) // ONE_IN[technique])
    harness, tried = fastest(nano().module, sample)
    seconds, scored = timed(lambda: harness.score([request_of(k) for k in sample]))
    gap = max(
        abs(a - b)
        for key, theirs in zip(sample, scored, strict=True)
        for a, b in zip(found[key].logprobs, theirs, strict=True)
    )
    return {
        "technique": technique,
        "seconds": seconds * len(keys) / len(sample),
        "seconds_measured": seconds,
        "requests": len(keys),
        "requests_measured": len(sample),
        "gap": gap,
        "seconds_by_rows_a_batch": tried,
        **harness.settings,
    }


def trained(technique: str, task: Task, asked: Asked, fit: Any) -> dict[str, Any]:
    """PEFT for the steps our winner took, then the harness on the test split. It trains at the rate
    that won here, and that time counts for each rate that was tried; which one to keep it gets for
    nothing."""
    low_rank = LoRA()
    setup = TrainingSetup.of(task, tokens=8)
    backend = nano()
    steps = max(steps_by_trial(fit.history).values())
    rates = fit.training.learning_rates_tried
    size = 16 if technique == SOFT.name else low_rank.batch_size

    def fresh(attention: str) -> Any:
        module = trainer.fresh(backend.module, attention=attention)
        if technique == "lora":
            return trainer.lora(module, rank=low_rank.rank, seed=0)
        return trainer.prompt_tuning(module, setup.start)

    settings, tried = trainer.tuned(
        fresh,
        backend.tokenizer,
        setup.rows,
        trainer.Settings(steps=steps, learning_rate=fit.training.learning_rate, batch_size=size),
    )
    wrapped = fresh(settings.attention)
    training = trainer.train(wrapped, backend.tokenizer, setup.rows, settings)
    wrapped.eval()
    keys = list(asked.found[technique])
    harness, by_rows = fastest(wrapped, keys)
    seconds, scored = timed(lambda: harness.score([request_of(k) for k in keys]))
    return {
        "technique": technique,
        "seconds": training * len(rates) + seconds,
        "seconds_training_at_one_rate": training,
        "seconds_scoring": seconds,
        "requests": len(keys),
        "accuracy": accuracy(task, keys, scored),
        "gap": None,
        "learning_rates": list(rates),
        "seconds_of_four_steps": tried,
        "seconds_by_rows_a_batch": by_rows,
        **settings.record(),
        "harness": harness.settings,
    }


def fastest(module: Any, keys: Sequence[Any]) -> tuple[Any, Mapping[int, float]]:
    """The harness with the best of three batch sizes on a few requests, off the clock."""
    from benchmarks.peers.lm_eval_hf import Harness

    some = [request_of(k) for k in keys[:2]]
    tried = {}
    for rows in (1, 8, 32):
        harness = Harness(module, nano().tokenizer, rows=rows)
        tried[rows] = timed(lambda h=harness: h.score(some))[0]
    return Harness(module, nano().tokenizer, rows=min(tried, key=lambda r: tried[r])), tried


def request_of(key: tuple[str, tuple[str, ...]]) -> ScoreRequest:
    """The request again from what was noted."""
    return ScoreRequest(Rendered(text=key[0]), key[1])


def accuracy(task: Task, keys: Sequence[Any], scored: Sequence[Sequence[float]]) -> float:
    """Of the likeliest label, on the test messages; labels stand in the task's order."""
    right = {}
    for example in task.test:
        right[example.text.strip()] = example.target
    hits = []
    for (text, _), logprobs in zip(keys, scored, strict=True):
        target = next((t for i, t in right.items() if i in text), None)
        if target is not None:
            hits.append(task.labels[max(range(len(logprobs)), key=logprobs.__getitem__)] == target)
    return sum(hits) / len(hits)
