"""Instructions and formats to try, written by rule: no language model is needed for these.

Instructions say what to answer with, how to go about it, or nothing. Formats vary what carries no
meaning and still moves the score, by up to 76 points in arXiv:2310.11324 (FormatSpread): names,
separators, the list of labels and how labels are written.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Literal

from luthier.models.prompt import Prompt, PromptFormat, label_text
from luthier.records import Kind
from luthier.task.task import Task

FIELD_NAMES = (
    ("Input", "Label"),
    ("Text", "Category"),
    ("Sentence", "Class"),
    ("Question", "Answer"),
    ("Input", "Output"),
    ("Q", "A"),
)
MOST_COMBINED = 200  # combinations of format changes that are drawn, at most
MOST_LISTED = 20  # labels that an instruction may list in its sentence


@dataclass(frozen=True, slots=True)
class Variant:
    """A prompt with one part changed: the part, and what the change is called in a record."""

    part: str
    name: str
    prompt: Prompt


def instruction_variants(prompt: Prompt, task: Task) -> Iterator[Variant]:
    """The prompt with other instructions, contexts and objectives; likely improvements first."""
    form = prompt.format
    sentence = prompt.instruction.strip() or task.instruction.strip()
    if sentence and not sentence.endswith((".", "!", "?", ":")):
        sentence += "."
    source, target = form.input_name.lower(), form.target_name.lower()
    texts: dict[str, str] = {}
    if prompt.labels:
        texts["answer with a label"] = f"{sentence} Answer with one of the labels."
        if len(prompt.labels) <= MOST_LISTED:
            names = ", ".join(label_text(label, form) for label in prompt.labels)
            texts["labels in the sentence"] = f"{sentence} Answer with exactly one of: {names}."
        texts["question"] = f"Which {target} fits the {source} best?"
        texts["bare"] = f"Give the {target} of each {source}."
        texts["pointed"] = (
            f"{sentence} Read the {source} to its end, decide what it is mainly about, and choose "
            f"the one {target} that fits best. Write the {target} and nothing else."
        )
    elif task.kind == Kind.EXTRACT:
        texts["only the result"] = f"{sentence} Give the result and nothing else."
        texts["copied"] = (
            f"{sentence} Use only what the {source} says, in its own words; leave out what it does "
            "not say. Give the result and nothing else."
        )
        if task.schema is not None:
            texts["json"] = f"{sentence} Answer with one JSON object and nothing else."
    elif task.kind == Kind.QUESTION_ANSWERING:
        texts["short"] = f"{sentence} Answer in as few words as possible."
        texts["copied"] = f"{sentence} Answer with the words of the passage that say it, no more."
    else:
        texts["only the answer"] = f"{sentence} Write the {target} and nothing else."
        texts["pointed"] = (
            f"{sentence} Follow the form and length of the examples, keep every fact of the "
            f"{source}, and add none."
        )
    texts["task line"] = f"Task: {sentence}"
    texts["expert"] = f"You do this work every day and make no mistakes. {sentence}"
    if task.instruction.strip():
        texts["as given"] = task.instruction.strip()
    texts["none"] = ""
    for name, text in texts.items():
        changed = replace(prompt, instruction=text)
        if name == "labels in the sentence":
            changed = replace(changed, format=replace(form, list_labels=False))
        yield Variant("instruction", name, changed)
    yield from _other_parts(prompt, task)


def _other_parts(prompt: Prompt, task: Task) -> Iterator[Variant]:
    """Prompts without their context, objective or label descriptions, and with the task's where
    they have none."""
    if prompt.label_descriptions:
        yield Variant("labels", "undescribed", replace(prompt, label_descriptions=()))
    elif task.label_descriptions:
        described = replace(prompt, label_descriptions=task.label_descriptions)
        yield Variant("labels", "described", described)
    for part, given in (("context", task.context), ("objective", task.objective)):
        present = prompt.context if part == "context" else prompt.objective
        if present:
            yield Variant(part, "left out", _with(prompt, part, ""))
        elif given:
            yield Variant(part, "as given", _with(prompt, part, given))
    if not prompt.objective and prompt.labels:
        aim = f"The aim: the right {prompt.format.target_name.lower()} for as many as possible."
        yield Variant("objective", "accuracy", replace(prompt, objective=aim))


def _with(prompt: Prompt, part: str, text: str) -> Prompt:
    if part == "context":
        return replace(prompt, context=text)
    return replace(prompt, objective=text)


def format_variants(prompt: Prompt, task: Task, *, seed: int, chat: bool) -> Iterator[Variant]:
    """The prompt in other formats: first the changes that concern labels, then single changes and
    combinations of changes.

    After the first few the order is random: with another seed the same budget tries others. `chat`
    says whether the model has a chat template.
    """
    form, rng = prompt.format, random.Random(seed)
    first = [
        ("the task's own format", task.base_prompt().format),
        *_label_changes(prompt, chat=chat),
    ]
    layouts = list(_layout_changes(form, task))
    rng.shuffle(layouts)
    combinations = _combinations(form, [*first[1:], *layouts], rng)
    seen = {form}
    pairs = (change for pair in zip(layouts, combinations, strict=False) for change in pair)
    for name, changed in chain(first, pairs, islice(combinations, MOST_COMBINED)):
        if changed not in seen:
            seen.add(changed)
            yield Variant("format", name, replace(prompt, format=changed))


Change = tuple[str, PromptFormat]


def _label_changes(prompt: Prompt, *, chat: bool) -> Iterator[Change]:
    form = prompt.format
    if prompt.labels:
        words = replace(form, label_style="words")
        if form.label_style == "words":
            yield "labels as they are", replace(form, label_style="as-is")
        elif any(label_text(label, words) != label for label in prompt.labels):
            yield "labels in words", words
        listed = "labels unlisted" if form.list_labels else "labels listed"
        yield listed, replace(form, list_labels=not form.list_labels)
    if chat and form.style != "plain":
        yield "no chat template", replace(form, style="plain")
    elif chat:
        yield "chat template", replace(form, style="chat")


def _layout_changes(form: PromptFormat, task: Task) -> Iterator[Change]:
    """Formats with other names and separators; none where the task has a stop string that spells
    out the present ones."""
    stops = () if task.labels else task.base_decoding().stop
    if any(stop.strip() for stop in stops):
        return
    for source, target in ((task.input_name, task.target_name), *FIELD_NAMES):
        names = replace(form, input_name=source, target_name=target)
        yield f"names {source}/{target}", names
    if any(e.context for e in task.train[:1]):
        places: tuple[Literal["around", "after"], ...] = ("around", "after")
        for place in places:
            yield f"input {place} the passage", replace(form, input_place=place)
    for shown, separator in (("newline", ":\n"), ("colon", ": "), ("arrow", " -> ")):
        yield f"after names {shown}", replace(form, name_separator=separator)
    for shown, separator in (("blank line", "\n\n"), ("newline", "\n"), ("bar", " | ")):
        yield f"between fields {shown}", replace(form, field_separator=separator)
    for shown, separator in (("blank line", "\n\n"), ("hashes", "\n###\n"), ("newline", "\n")):
        # Where a block ends, an answer must end.
        if all(stop in separator for stop in stops):
            yield f"between examples {shown}", replace(form, block_separator=separator)


def _combinations(
    form: PromptFormat, singles: list[Change], rng: random.Random
) -> Iterator[Change]:
    """Random pairs and triples of single changes, without end; none where there is one change
    only."""
    while len(singles) >= 2:
        picked = rng.sample(singles, min(len(singles), rng.choice((2, 3))))
        combined = form
        for _, changed in picked:
            combined = _merged(form, combined, changed)
        yield " + ".join(name for name, _ in picked), combined


def _merged(base: PromptFormat, into: PromptFormat, changed: PromptFormat) -> PromptFormat:
    """`into` with those fields of `changed` that differ from `base`."""
    differing = {
        name: getattr(changed, name)
        for name in PromptFormat.__dataclass_fields__
        if getattr(changed, name) != getattr(base, name)
    }
    return replace(into, **differing)
