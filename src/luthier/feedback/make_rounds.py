"""Several methods from one parent: each trains its own model, and each is measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from luthier.errors import FeedbackError
from luthier.feedback.measure_round import measure_round
from luthier.feedback.preference_data import held_out_examples
from luthier.feedback.train_round import (
    RoundRequest,
    method_of,
    model_named,
    next_name,
    open_named,
    round_rewards,
    train_round,
)
from luthier.ledger.feedback_store import FeedbackStore
from luthier.ledger.opinions import TunedModel
from luthier.records import Budget
from luthier.task.task import Task
from luthier.training.fit import budget_tokens

MEASURED_PROMPTS = 32


@dataclass(frozen=True, slots=True)
class LoopRequest:
    """What `luthier feedback train` was asked for.

    **Fields**

    - `methods`: as `RoundRequest.method`, one a model.
    - `model`: what to begin with where there is no round yet.
    - `parent`: the model of the rounds to improve; None: the latest.
    - `name`: of the new model; with several methods each adds its own name.
    - `task`: a task that the model had, to see what was forgotten; a gate watches its dev score.
    """

    methods: Sequence[str]
    budget: Budget
    model: str | None = None
    parent: str | None = None
    name: str | None = None
    seed: int = 0
    task: str | None = None
    base: str | None = None


def make_rounds(store: FeedbackStore, folder: Path, request: LoopRequest) -> list[TunedModel]:
    """Train and measure a model for each method."""
    for method in request.methods:
        method_of(method)
    start, parent = _begin(store, request)
    model = open_named(store, start, base=request.base)
    first = model
    models = store.models()
    if models and models[0].name != start:
        first = open_named(store, models[0].name, base=request.base)
    task = Task.load(request.task) if request.task is not None else None
    tokens = budget_tokens(request.budget, model.backend)
    name = request.name or next_name(store)
    prompts = held_out_examples(store)[:MEASURED_PROMPTS]
    made, rewards = [], None
    for method in request.methods:
        own = name if len(request.methods) == 1 else f"{name}-{method_of(method).name}"
        asked = RoundRequest(
            method, tokens, parent=parent, name=own, seed=request.seed,
            guarded=None if task is None else task.without_test(),
        )  # fmt: skip
        rewards = rewards or round_rewards(store, asked, model=model)
        made.append(
            train_round(store, folder, asked, model=model, model_name=start, rewards=rewards)
        )
        if prompts:
            tuned = open_named(store, own, base=request.base)
            measure_round(
                store, own, model=tuned, parent=model, first=first, examples=prompts, task=task
            )
    if prompts and "measured" not in (store.models()[0].record or {}):
        measure_round(
            store, store.models()[0].name, model=first, parent=first, first=first,
            examples=prompts, task=task,
        )  # fmt: skip
    return [found for m in made if (found := model_named(store, m.name)) is not None]


def _begin(store: FeedbackStore, request: LoopRequest) -> tuple[str, str | None]:
    """The name of the model to improve, and the same where it is one of the rounds."""
    models = store.models()
    if request.parent is not None:
        return request.parent, request.parent
    if request.model is not None:
        return request.model, None
    if models:
        return models[-1].name, models[-1].name
    answered = Counter(a.model for item in store.items() for a in item.answers if a.model)
    if not answered:
        raise FeedbackError(
            "It is not known which model to improve: the answers name none",
            next_step="Name it with --model.",
        )
    return answered.most_common(1)[0][0], None
