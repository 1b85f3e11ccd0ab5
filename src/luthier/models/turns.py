"""How an input of several turns, or one that holds pictures, becomes what a model reads.

A single question in plain text is `prompt.render`'s. Here the adaptation's prompt becomes the
system part, before the conversation's own; its demonstrations come next, as turns; then the earlier
turns of the conversation as they were; and a passage stands with the last question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from luthier.content import Content, Conversation, Input, Message, Text, ToolCall
from luthier.errors import UserError
from luthier.models.prompt import (
    RESULT_NAME,
    Demonstration,
    Prompt,
    Rendered,
    answer_line,
    chat_turn,
    input_block,
    label_text,
    prompt_head,
    step_lines,
    step_turns,
)
from luthier.models.tool_formats.named_calls import NAMED


def render_turns(
    prompt: Prompt,
    content: Input,
    *,
    passage: str | None = None,
    demonstrations: tuple[Demonstration, ...] | None = None,
    chat: bool = False,
) -> Rendered:
    """Write out a prompt for a conversation, as `prompt.render` does for one text.

    UserError where there is nothing to answer: no turn, or a last turn that is the model's own.
    """
    messages = Conversation.of(content).messages
    if not messages or messages[-1].role not in ("user", "tool"):
        last = f"its last turn is of {messages[-1].role}" if messages else "it has no turn"
        raise UserError(
            f"the conversation leaves nothing to answer: {last}",
            next_step="End it with a turn of user.",
        )
    if demonstrations is None:
        demonstrations = prompt.demonstrations
    system = [prompt_head(prompt), *(m.text.strip() for m in messages if m.role == "system")]
    head = prompt.format.block_separator.join(text for text in system if text)
    turns = [m for m in messages if m.role != "system"]
    last_user = max((i for i, m in enumerate(turns) if m.role == "user"), default=-1)
    if chat:
        return _as_messages(
            prompt, head, demonstrations, _with_passage(prompt, turns, last_user, passage)
        )
    return _as_text(prompt, head, demonstrations, turns, last_user, passage)


def _as_messages(
    prompt: Prompt, head: str, demonstrations: Sequence[Demonstration], turns: Sequence[Message]
) -> Rendered:
    form = prompt.format
    messages = [Message("system", head)] if head else []
    for shown in demonstrations:
        messages.append(Message("user", chat_turn(form, shown.input, shown.context)))
        messages += step_turns(shown.steps)
        messages.append(Message("assistant", label_text(shown.target, form)))
    return Rendered(messages=(*messages, *turns), inputs=_inputs(turns))


def _with_passage(
    prompt: Prompt, turns: Sequence[Message], last_user: int, passage: str | None
) -> list[Message]:
    """The turns, the passage put into the turn at place `last_user`."""
    if last_user < 0 or not passage:
        return list(turns)
    form, message = prompt.format, turns[last_user]
    content: Content
    if isinstance(message.content, str):
        content = chat_turn(form, message.content, passage)
    else:
        before = f"{form.context_name}{form.name_separator}{passage.strip()}"
        if form.input_place == "around":
            before = f"{message.text.strip()}\n\n{before}"
        content = (Text(before), *message.content)
    return [*turns[:last_user], replace(message, content=content), *turns[last_user + 1 :]]


def _as_text(
    prompt: Prompt, head: str, demonstrations: Sequence[Demonstration],
    turns: Sequence[Message], last_user: int, passage: str | None,
) -> Rendered:  # fmt: skip
    """Earlier turns in the form of demonstrations: an input, and below it what was answered."""
    form = prompt.format
    blocks = [head] if head else []
    for shown in demonstrations:
        answered = answer_line(form, label_text(shown.target, form))
        asked = input_block(form, shown.input, shown.context)
        blocks.append(asked + step_lines(form, shown.steps) + answered)
    for place, message in enumerate(turns):
        text = _called(message) or message.text
        if message.role == "user":
            blocks.append(input_block(form, text, passage if place == last_user else None))
            continue
        if message.role == "tool":
            line = f"{form.field_separator}{RESULT_NAME}{form.name_separator}{text.strip()}"
        else:
            line = answer_line(form, label_text(text, form) if text in prompt.labels else text)
        if place == 0:
            blocks.append(line.removeprefix(form.field_separator))
        else:
            blocks[-1] += line
    blocks[-1] += form.field_separator + form.target_name + form.name_separator.rstrip(" ")
    prefix = " " if form.name_separator.endswith(" ") else ""
    whole = form.block_separator.join(blocks)
    return Rendered(whole, answer_prefix=prefix, inputs=_inputs(turns))


def _called(message: Message) -> str:
    """What a turn with calls says, the calls in the plain form; "" for any other turn."""
    if isinstance(message.content, str):
        return ""
    calls = [part for part in message.content if isinstance(part, ToolCall)]
    said = [part.text for part in message.content if isinstance(part, Text)]
    return "\n".join([*said, NAMED.write(calls)]) if calls else ""


def _inputs(turns: Sequence[Message]) -> tuple[str, ...]:
    """The texts of turns that may be cut."""
    return tuple(turn.content for turn in turns if isinstance(turn.content, str) and turn.content)
