"""What a round changed besides taste: how far it went, and what it forgot."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import Any

import torch

from luthier.errors import FeedbackError
from luthier.ledger.feedback_store import FeedbackStore
from luthier.ledger.opinions import TunedModel
from luthier.models.model import Model
from luthier.records import Example
from luthier.scoring.evaluation import evaluate
from luthier.scoring.off_task import off_task_loss
from luthier.task.task import Task
from luthier.training.rows import TrainRow, answer_logprobs, batch_of, rows_for

ROWS_AT_ONCE = 16


def kl_between(model: Model, other: Model, examples: Sequence[Example], *, seed: int = 0) -> float:
    """Nats an answer: the mean of log p_model(y) − log p_other(y) over answers y that the model
    samples, one to each example; an estimate of KL(model ‖ other)."""
    from dataclasses import replace

    sampling = model.adapt(decoding=replace(model.adaptation.decoding, temperature=1.0))
    answers = [r.text.strip() or " " for r in sampling.answer(examples, seed=seed)]
    asked = [replace(e, target=a) for e, a in zip(examples, answers, strict=True)]
    own, theirs = (_logprobs(m, asked) for m in (model, other))
    return mean(a - b for a, b in zip(own, theirs, strict=True))


def measure_round(
    store: FeedbackStore, name: str, *, model: Model, parent: Model, first: Model,
    examples: Sequence[Example], task: Task | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Measure a model of the rounds, and keep it with its record."""
    found = next((m for m in store.models() if m.name == name), None)
    if found is None:
        raise FeedbackError(f"There is no model {name!r}", next_step="See luthier feedback rounds.")
    off_task = off_task_loss(model)
    measured: dict[str, Any] = {
        "kl": kl_between(model, parent, examples) if model is not parent else None,
        "kl_from_first": kl_between(model, first, examples) if model is not first else None,
        "off_task_bits": None if off_task is None else off_task.bits_per_byte,
        "task_score": None,
    }
    if task is not None:
        own = model.adapt(prompt=task.base_prompt(), decoding=task.base_decoding(model.backend))
        measured["task_score"] = evaluate(own, task).score.value
        measured["task"] = task.name
    store.add_model(
        TunedModel(
            found.id, found.name, found.folder, found.method, found.parent,
            {**found.record, "measured": measured},
        )
    )  # fmt: skip
    return measured


def _logprobs(model: Model, examples: Sequence[Example]) -> list[float]:
    # The session comes first: an adapter that it puts in place stays, and may be trained next.
    with model.backend.session(model.adaptation) as session, torch.inference_mode():
        rows: list[TrainRow] = rows_for(model, session, examples)
        found: list[float] = []
        for start in range(0, len(rows), ROWS_AT_ONCE):
            batch = batch_of(session, rows[start : start + ROWS_AT_ONCE])
            found += answer_logprobs(session, batch, session.soft)[:, 0].tolist()
    return found
