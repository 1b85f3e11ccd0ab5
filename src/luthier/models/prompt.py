"""The `prompt` slot: the parts of a prompt, and how they become the text a model reads.

The parts are separate so that a search can change one and keep the rest: instruction, context,
objective, demonstrations, format, negative.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from luthier.content import Message, ToolCall, ToolResult, ToolSignature, ToolStep

RESULT_NAME = "Result"  # stands before a tool's result in plain text


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A solved example shown in the prompt. `steps` are the calls that lead to its answer, shown
    where the model has tools."""

    input: str
    target: str
    context: str | None = None
    steps: tuple[ToolStep, ...] = ()


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """Everything about a prompt that carries no meaning and still moves the score (FormatSpread,
    arXiv:2310.11324).

    `style` "auto" uses the model's chat template where the model prefers it, and plain text
    elsewhere. `label_style` "words" shows `card_arrival` as `card arrival`. `input_place` "around"
    writes the input before its passage as well as after it: a causal model reads a passage better
    when it knows what is asked (Arora et al. 2024, arXiv:2407.05483, on reading twice).
    """

    input_name: str = "Input"
    target_name: str = "Label"
    context_name: str = "Passage"
    labels_name: str = "Labels"
    name_separator: str = ": "
    field_separator: str = "\n"
    block_separator: str = "\n\n"
    list_labels: bool = True
    label_style: Literal["as-is", "words"] = "as-is"
    style: Literal["auto", "plain", "chat"] = "auto"
    input_place: Literal["after", "around"] = "after"


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt in parts. `labels` are shown when the format lists them.

    `demonstrations` is what is shown when `selection` is "all". With "knn" it is a pool, of which
    each input sees the `shots` nearest by TF-IDF cosine, the nearest last (KATE, arXiv:2101.06804).
    """

    instruction: str = ""
    context: str = ""
    objective: str = ""
    negative: str = ""
    labels: tuple[str, ...] = ()
    label_descriptions: tuple[tuple[str, str], ...] = ()
    demonstrations: tuple[Demonstration, ...] = ()
    selection: Literal["all", "knn"] = "all"
    shots: int = 0
    format: PromptFormat = field(default_factory=PromptFormat)


@dataclass(frozen=True, slots=True)
class Thought:
    """What a base that thinks before it answers has thought so far, in the form of its own chat
    template. `closed`: the thought is over, and the answer comes next."""

    text: str = ""
    closed: bool = False


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt as the backend reads it: a plain text, or chat messages. One of the two is empty.

    `answer_prefix` stands before the answer ("" in chat, " " after a plain "Label:"). `inputs` are
    the texts in it that may be cut where it is too long for the context: the input and its passage,
    as they stand in the last text or message. `thought`: the base is to think in its own way, or
    has; None: it is to answer at once. `tools` are what the model may call now: a chat template or
    a server shows them, and a grammar holds calls to them in the form `call_format`
    (`models.tool_formats`).
    """

    text: str = ""
    messages: tuple[Message, ...] = ()
    answer_prefix: str = ""
    inputs: tuple[str, ...] = ()
    thought: Thought | None = None
    tools: tuple[ToolSignature, ...] = ()
    call_format: str = "plain"


def label_text(label: str, form: PromptFormat) -> str:
    """How a label is written in the prompt and expected in the answer."""
    if form.label_style == "words":
        return " ".join(label.replace("_", " ").replace("-", " ").split())
    return label


def render(
    prompt: Prompt,
    text: str,
    *,
    passage: str | None = None,
    demonstrations: tuple[Demonstration, ...] | None = None,
    chat: bool = False,
) -> Rendered:
    """Write out a prompt for one input. `chat` says which of the two forms the backend wants."""
    shown = prompt.demonstrations if demonstrations is None else demonstrations
    form = prompt.format
    head = prompt_head(prompt)
    if not chat:
        blocks = [head] if head else []
        blocks += [
            input_block(form, d.input, d.context)
            + step_lines(form, d.steps)
            + answer_line(form, label_text(d.target, form))
            for d in shown
        ]
        query = input_block(form, text, passage)
        query += form.field_separator + form.target_name + form.name_separator.rstrip(" ")
        blocks.append(query)
        # A separator that ends in a space gives that space to the answer: "Label:" + " billing",
        # so that the tokens of the answer are those the model saw after a real colon.
        prefix = " " if form.name_separator.endswith(" ") else ""
        whole = form.block_separator.join(blocks)
        return Rendered(whole, answer_prefix=prefix, inputs=inputs_of(text, passage))
    messages = [Message("system", head)] if head else []
    for d in shown:
        messages.append(Message("user", chat_turn(form, d.input, d.context)))
        messages += step_turns(d.steps)
        messages.append(Message("assistant", label_text(d.target, form)))
    messages.append(Message("user", chat_turn(form, text, passage)))
    return Rendered(messages=tuple(messages), inputs=inputs_of(text, passage))


def inputs_of(text: str, passage: str | None) -> tuple[str, ...]:
    """What may be cut of an input and its passage, as they stand in a prompt."""
    return tuple(part for part in (text.strip(), (passage or "").strip()) if part)


def replace_input(prompt: Rendered, old: str, new: str) -> Rendered:
    """The prompt with another text for one of its inputs, where that stands last: a demonstration
    may say the same."""
    inputs = tuple(new if part == old else part for part in prompt.inputs)
    if not prompt.messages:
        return replace(prompt, text=_last_replaced(prompt.text, old, new), inputs=inputs)
    messages = list(prompt.messages)
    for i in reversed(range(len(messages))):
        content = messages[i].content
        if isinstance(content, str) and old in content:
            messages[i] = replace(messages[i], content=_last_replaced(content, old, new))
            break
    return replace(prompt, messages=tuple(messages), inputs=inputs)


def _last_replaced(text: str, old: str, new: str) -> str:
    before, found, after = text.rpartition(old)
    return f"{before}{new}{after}" if found else text


def prompt_head(prompt: Prompt) -> str:
    """All that stands before the demonstrations: instruction, context, objective, labels."""
    form = prompt.format
    parts = [prompt.instruction, prompt.context, prompt.objective]
    if prompt.negative:
        parts.append(f"Avoid: {prompt.negative}")
    if prompt.labels and form.list_labels:
        described = dict(prompt.label_descriptions)
        names = [label_text(label, form) for label in prompt.labels]
        if described:
            lines = [
                f"- {name}{form.name_separator}{described.get(label, '')}".rstrip(" :")
                for name, label in zip(names, prompt.labels, strict=True)
            ]
            parts.append(f"{form.labels_name}:\n" + "\n".join(lines))
        else:
            parts.append(f"{form.labels_name}{form.name_separator}{', '.join(names)}")
    return form.block_separator.join(part.strip() for part in parts if part.strip())


def input_block(form: PromptFormat, text: str, passage: str | None) -> str:
    """An input under its name, in plain text, with its passage where it has one."""
    question = f"{form.input_name}{form.name_separator}{text.strip()}"
    if not passage:
        return question
    lines = [f"{form.context_name}{form.name_separator}{passage.strip()}", question]
    if form.input_place == "around":
        lines.insert(0, question)
    return form.field_separator.join(lines)


def answer_line(form: PromptFormat, target: str) -> str:
    """An answer under its name, in plain text, with the separator before it."""
    return f"{form.field_separator}{form.target_name}{form.name_separator}{target.strip()}"


def step_lines(form: PromptFormat, steps: Sequence[ToolStep]) -> str:
    """Calls and their results in plain text, each below the other."""
    return "".join(
        answer_line(form, step.call.text)
        + f"{form.field_separator}{RESULT_NAME}{form.name_separator}{step.result.strip()}"
        for step in steps
    )


def step_turns(steps: Sequence[ToolStep]) -> list[Message]:
    """Calls and their results as turns of a chat."""
    turns = []
    for place, step in enumerate(steps):
        call = ToolCall(step.name, step.arguments, call_id(0, place))
        turns.append(Message("assistant", (call,)))
        turns.append(Message("tool", (ToolResult(call.id, step.result, step.failed),)))
    return turns


def call_id(step: int, place: int) -> str:
    """An id that every API takes (Mistral wants nine letters and digits)."""
    return f"call{step % 100:02}{place % 1000:03}"


def chat_turn(form: PromptFormat, text: str, passage: str | None) -> str:
    """An input as a user's turn of a chat, with its passage where it has one."""
    question = text.strip()
    if not passage:
        return question
    parts = [f"{form.context_name}{form.name_separator}{passage.strip()}", question]
    if form.input_place == "around":
        parts.insert(0, question)
    return "\n\n".join(parts)
