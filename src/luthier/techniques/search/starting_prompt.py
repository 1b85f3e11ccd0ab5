"""The prompt and the decoding that a technique starts from: the model's own, else the task's."""

from __future__ import annotations

from dataclasses import replace

from luthier.models.adaptation import Decoding
from luthier.models.model import Model
from luthier.models.prompt import Prompt, PromptFormat
from luthier.records import Capability
from luthier.task.task import Task


def starting_prompt(model: Model, task: Task) -> Prompt:
    """The model's own prompt where it has one for this task, else the task's.

    A prompt with other labels was made for another task and is left behind. A hand-written one
    without labels keeps its words and gets the task's labels and column names.
    """
    base, own = task.base_prompt(), model.adaptation.prompt
    if own == Prompt() or (own.labels and own.labels != base.labels):
        return base
    if base.labels and not own.labels:
        form = base.format if own.format == PromptFormat() else own.format
        own = replace(
            own, labels=base.labels, label_descriptions=base.label_descriptions, format=form
        )
    return own


def starting_decoding(model: Model, task: Task) -> Decoding:
    """The model's own decoding where it fits this task, else the task's."""
    base, own = task.base_decoding(), model.adaptation.decoding
    is_for_task = own.labels == base.labels and own != Decoding()
    return own if is_for_task else base


def scores_labels(model: Model, decoding: Decoding) -> bool:
    """Whether answers come with a log-probability for each label."""
    return bool(decoding.labels) and Capability.LOGPROBS in model.capabilities
