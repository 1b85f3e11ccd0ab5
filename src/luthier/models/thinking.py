"""Answers after a thought: the model first writes what it thinks, then answers with that before it.

Two requests (Kojima et al. 2022, arXiv:2205.11916, section 3): a thought z is generated after the
prompt x and a cue, at most `decoding.thinking_tokens` long; then y is read after x, z and the name
of the answer, as any answer is: labels are scored, text is generated. With several votes so many
thoughts are sampled, and the commonest answer counts (arXiv:2203.11171, section 2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from luthier.content import Message, Response
from luthier.models.adaptation import Decoding
from luthier.models.backend import Generated, GenerateRequest
from luthier.models.parsing import voted
from luthier.models.prompt import PromptFormat, Rendered

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
    thinking = Decoding(
        max_new_tokens=decoding.thinking_tokens,
        temperature=decoding.temperature,
        stop=(form.block_separator,) if form.block_separator.strip(" ") else ("\n\n",),
    )
    thoughts = model.backend.generate(
        [
            GenerateRequest(thought_prompt(p, form), seed, decoding.votes, decoding=thinking)
            for p in prompts
        ],
        model.adaptation,
    )
    plain = model.adapt(decoding=replace(decoding, thinking_tokens=0, votes=1, temperature=0.0))
    samples = [(thought, *thought.others) for thought in thoughts]
    asked = [
        answer_prompt(prompt, sample.text, form)
        for prompt, own in zip(prompts, samples, strict=True)
        for sample in own
    ]
    answers = iter(answer_prompts(plain, asked))
    labels = bool(decoding.labels)
    return [
        voted([_joined(sample, next(answers)) for sample in own], labels=labels) for own in samples
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


def _joined(thought: Generated, answer: Response) -> Response:
    text = f"{thought.text.strip()}\n{answer.text}"
    return replace(answer, text=text, usage=thought.usage + answer.usage)
