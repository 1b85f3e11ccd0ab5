"""How every trained technique starts: prompt and decoding filled in, the budget in tokens, dev
drawn."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Literal

from luthier.errors import BudgetError, TechniqueError
from luthier.models.backend import Backend
from luthier.models.model import Model
from luthier.models.prompt import Prompt
from luthier.records import Budget, Example
from luthier.task.task import Task

DEFAULT_MINUTES = 2.0
PromptStyle = Literal["bare", "task"]


def starting(model: Model, task: Task, style: PromptStyle) -> Model:
    """The model with a prompt and a decoding to train under.

    A prompt that is already there stays (that is what a recipe is for). Otherwise "task" takes the
    task's own prompt, and "bare" only the names of input and target: what the instruction says is
    learnt instead, and every request is shorter for it.
    """
    adaptation = model.adaptation
    decoding = adaptation.decoding
    if (not decoding.labels and task.labels) or not adaptation.filled:
        decoding = task.base_decoding()
    if decoding.label_bias:
        # A bias was measured on the untrained model; training moves what it corrected.
        decoding = replace(decoding, label_bias=())
    prompt = adaptation.prompt
    if prompt == Prompt():
        prompt = task.base_prompt()
        if style == "bare":
            form = prompt.format
            prompt = Prompt(labels=prompt.labels, format=replace(form, list_labels=False))
    return model.adapt(prompt=prompt, decoding=decoding)


def free_adapter_slot(model: Model, name: str) -> None:
    """TechniqueError for a model that carries an adapter already."""
    if model.adaptation.adapter is not None:
        raise TechniqueError(
            f"{name} needs the adapter slot, and this model has an adapter already",
            next_step="Fit it on the model before that adapter was made.",
        )


def budget_tokens(budget: Budget, backend: Backend) -> int:
    """The budget in forward-token equivalents; minutes count at the measured forward speed."""
    if budget.tokens is not None:
        tokens = budget.tokens
    else:
        minutes = budget.minutes if budget.minutes is not None else DEFAULT_MINUTES
        speed = backend.tokens_per_second()
        if speed is None:
            raise BudgetError(
                f"The speed of {backend.name} is not known, so minutes cannot become tokens",
                next_step="Give the budget in tokens.",
            )
        tokens = int(minutes * 60 * speed)
    if tokens < 1:
        raise BudgetError(
            f"A budget of {tokens} tokens trains nothing",
            next_step="Give a few thousand tokens, or some minutes.",
        )
    return tokens


def dev_examples(task: Task, most: int) -> list[Example]:
    """At most `most` dev examples, the same for every technique and seed."""
    pool = sorted(task.dev, key=lambda e: e.id)
    if len(pool) <= most:
        return pool
    return random.Random(0).sample(pool, most)


def style_of(value: str) -> PromptStyle:
    """Check the `prompt` setting of a trained technique."""
    if value == "bare":
        return "bare"
    if value == "task":
        return "task"
    raise TechniqueError(f"prompt={value!r} is unknown", choices=("bare", "task"))
