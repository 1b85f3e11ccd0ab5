"""Answers after a thought: the model first writes what it thinks, then answers with that before it.

A base that was trained to think (Qwen3, R1) can do so in its own way (`Decoding.own_thoughts`): its
chat template opens the thought, and a tag closes it. What is cut at the limit is closed by hand,
and the answer follows (Muennighoff et al. 2025, arXiv:2501.19393, section 3.1). A server does all
of it in one request, whose limit holds thought and answer. Every other base is asked in words.

Two requests (Kojima et al. 2022, arXiv:2205.11916, section 3): a thought z is generated after the
prompt x and a cue, at most `decoding.thinking_tokens` long; then y is read after x, z and the name
of the answer, as any answer is: labels are scored, text is generated. With several votes so many
thoughts are sampled, and the commonest answer counts (arXiv:2203.11171, section 2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from luthier.content import Message, Response, Usage
from luthier.models.adaptation import Decoding
from luthier.models.backend import Generated, GenerateRequest
from luthier.models.parsing import voted
from luthier.models.prompt import PromptFormat, Rendered, Thought
from luthier.models.thoughts import CLOSING_TAGS

if TYPE_CHECKING:
    from luthier.models.model import Model

REASONING_NAME = "Reasoning"
CUE = "Let's think step by step."
CHAT_CUE = "First think step by step, and do not answer yet."
CHAT_ANSWER = "Now give the answer, and nothing else."

AnswerPrompts = Callable[["Model", Sequence[Rendered]], list[Response]]


def answer_after_thought(
    model: Model, prompts: Sequence[Rendered], answer_prompts: AnswerPrompts, *, seed: int
) -> list[Response]:
    """One response for each prompt; its text is the thought, a line end, and the answer.

    `answer_prompts` answers prompts with a model that does not think.
    """
    decoding, form = model.adaptation.decoding, model.adaptation.prompt.format
    own = decoding.own_thoughts
    separator = (form.block_separator,) if form.block_separator.strip(" ") else ("\n\n",)
    thinking = Decoding(
        max_new_tokens=decoding.thinking_tokens,
        temperature=decoding.temperature,
        stop=CLOSING_TAGS if own else separator,
    )
    asked_for = [replace(p, thought=Thought()) if own else thought_prompt(p, form) for p in prompts]
    thoughts = model.backend.generate(
        [GenerateRequest(p, seed, decoding.votes, decoding=thinking) for p in asked_for],
        model.adaptation,
    )
    plain = model.adapt(decoding=replace(decoding, thinking_tokens=0, votes=1, temperature=0.0))
    samples = [(thought, *thought.others) for thought in thoughts]
    asked = [
        replace(prompt, thought=Thought(sample.text, closed=True))
        if own
        else answer_prompt(prompt, sample.text, form)
        for prompt, some in zip(prompts, samples, strict=True)
        for sample in some
    ]
    answers = iter(answer_prompts(plain, asked))
    labels = bool(decoding.labels)
    return [
        voted([_joined(sample, next(answers), own=own) for sample in some], labels=labels)
        for some in samples
    ]


def thinking_requests(
    model: Model, prompts: Sequence[Rendered], *, seed: int
) -> list[GenerateRequest]:
    """What a server is asked where thought and answer come in one: its limit holds both."""
    decoding = model.adaptation.decoding
    both = replace(
        decoding,
        max_new_tokens=decoding.max_new_tokens + decoding.thinking_tokens,
        thinking_tokens=0,
        own_thoughts=False,
    )
    return [
        GenerateRequest(replace(p, thought=Thought()), seed, decoding.votes, decoding=both)
        for p in prompts
    ]


def thought_prompt(prompt: Rendered, form: PromptFormat) -> Rendered:
    """The prompt that a thought follows."""
    if prompt.messages:
        *earlier, last = prompt.messages
        asked = replace(last, content=f"{last.text}\n\n{CHAT_CUE}")
        return Rendered(messages=(*earlier, asked), inputs=prompt.inputs)
    name = form.target_name + form.name_separator.rstrip(" ")
    text = prompt.text.removesuffix(name)
    return Rendered(f"{text}{REASONING_NAME}{form.name_separator}{CUE}", inputs=prompt.inputs)


def answer_prompt(prompt: Rendered, thought: str, form: PromptFormat) -> Rendered:
    """The prompt that the answer follows: what was asked, what was thought, the answer's name."""
    if prompt.messages:
        turns = (Message("assistant", thought.strip()), Message("user", CHAT_ANSWER))
        asked = thought_prompt(prompt, form)
        return Rendered(messages=(*asked.messages, *turns), inputs=prompt.inputs)
    text = f"{thought_prompt(prompt, form).text} {thought.strip()}".rstrip()
    name = form.target_name + form.name_separator.rstrip(" ")
    return replace(prompt, text=text + form.field_separator + name)


def _joined(thought: Generated, answer: Response, *, own: bool) -> Response:
    """The answer with the usage of both; the text of a thought that was asked for stays in it."""
    text = answer.text if own else f"{thought.text.strip()}\n{answer.text}"
    usage = thought.usage + answer.usage + Usage(cut_thoughts=int(thought.cut))
    return replace(answer, text=text, usage=usage)
