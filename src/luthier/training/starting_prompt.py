"""Where a technique starts: with what the model brings along, else with what the task says.

The prompt:

1. A model without a prompt starts with the task's prompt.
2. A prompt with other labels than the task's was made for another task and is left behind.
3. A hand-written prompt without labels keeps its words and gets the task's labels, and the task's
   names of the columns where it has none of its own.
4. Any other prompt stays as it is; that is what a recipe is for.

The bare style, which trained techniques use, adds less: under rules 1 and 2 only the names of input
and target (training teaches what the instruction says, and every request is shorter for it), under
rule 3 nothing.

The decoding stays where it has the task's labels and is not the default; else it is the task's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from luthier.errors import TechniqueError
from luthier.models.adaptation import Decoding
from luthier.models.model import Model
from luthier.models.prompt import Prompt, PromptFormat
from luthier.task.task import Task

PromptStyle = Literal["bare", "task"]
STYLES: tuple[PromptStyle, ...] = ("bare", "task")


def starting_model(model: Model, task: Task, *, style: str = "task") -> Model:
    """The model with the prompt and the decoding that a search or a fit starts with.

    Label biases are dropped: they were measured for what is about to change. TechniqueError for a
    `style` that is neither "bare" nor "task".
    """
    prompt = starting_prompt(model, task, style=style)
    return model.adapt(
        prompt=prompt, decoding=replace(starting_decoding(model, task), label_bias=())
    )


def starting_prompt(model: Model, task: Task, *, style: str = "task") -> Prompt:
    """The prompt by the rules above, in the `style` "bare" or "task"."""
    if style not in STYLES:
        raise TechniqueError(f"prompt={style!r} is unknown", choices=STYLES)
    bare = style == "bare"
    base, own = task.base_prompt(), model.adaptation.prompt
    if own == Prompt() or (own.labels and own.labels != base.labels):
        form = base.format
        return Prompt(labels=base.labels, format=replace(form, list_labels=False)) if bare else base
    if base.labels and not own.labels and not bare:
        form = base.format if own.format == PromptFormat() else own.format
        own = replace(
            own, labels=base.labels, label_descriptions=base.label_descriptions, format=form
        )
    return own


def starting_decoding(model: Model, task: Task) -> Decoding:
    """The model's own decoding where it fits this task, else the task's."""
    base, own = task.base_decoding(model.backend), model.adaptation.decoding
    is_for_task = own.labels == base.labels and own != Decoding()
    return own if is_for_task else base
