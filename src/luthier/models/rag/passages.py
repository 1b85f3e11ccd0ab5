"""From passages to the text of a prompt."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from luthier.content import ABSTENTION, question_of
from luthier.models.adaptation import Knowledge
from luthier.models.prompt import Demonstration, Prompt
from luthier.models.rag.lookup import search_knowledge
from luthier.records import Example

if TYPE_CHECKING:
    from luthier.models.model import Model
    from luthier.retrieval import Hit, Passage

REQUEST = (
    "Answer from the numbered passages alone, and write the number of the passage after the "
    f"answer, like [1]. If they do not hold the answer, write: {ABSTENTION}"
)
# Markup that common chat templates write around turns; the model's own special tokens are added.
MARKUP = re.compile(r"<\|[^<>|\n]{1,40}\|>|</?s>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>")


def with_citation_request(prompt: Prompt, knowledge: Knowledge) -> Prompt:
    """The prompt with the request to cite and to abstain, where the passages' form is "cited"."""
    if knowledge.form != "cited":
        return prompt
    parts = [part for part in (prompt.context, REQUEST) if part]
    return replace(prompt, context=prompt.format.block_separator.join(parts))


def with_passages(model: Model, examples: Sequence[Example]) -> list[Example]:
    """The examples with the hits for their question as their passage, after one of their own."""
    knowledge = model.adaptation.knowledge
    if knowledge is None:
        return list(examples)
    found = search_knowledge(knowledge, [question_of(e.input) for e in examples])
    return [
        replace(e, context=joined(model, hits, own=e.context))
        for e, hits in zip(examples, found, strict=True)
    ]


def with_each_passage(
    model: Model, examples: Sequence[Example]
) -> list[tuple[list[Example], tuple[Hit, ...]]]:
    """For each example: one copy for each hit, with that passage alone, and the hits.

    Where the search finds nothing, the example itself and no hit.
    """
    knowledge = model.adaptation.knowledge
    assert knowledge is not None
    found = search_knowledge(knowledge, [question_of(e.input) for e in examples])
    return [
        ([replace(e, context=joined(model, [h], own=e.context)) for h in hits] or [e], hits)
        for e, hits in zip(examples, found, strict=True)
    ]


def shown_with_passage(model: Model, demonstration: Demonstration) -> Demonstration:
    """A demonstration with the hits for its input, passages that hold its target first."""
    knowledge = model.adaptation.knowledge
    if knowledge is None or not knowledge.shown_passages or demonstration.context is not None:
        return demonstration
    (hits,) = search_knowledge(knowledge, [demonstration.input])
    target = " ".join(demonstration.target.split()).casefold()
    answering = [h for h in hits if target in " ".join(h.passage.text.split()).casefold()]
    rest = [h for h in hits if h not in answering]
    best = [*answering, *rest][: knowledge.shown_passages]
    return replace(demonstration, context=joined(model, best))


def joined(model: Model, hits: Sequence[Hit], *, own: str | None = None) -> str | None:
    """The passages of a prompt, one line each, the best last, next to the question.

    `own` is the example's own passage, which stands before them. The numbers are the ranks, so that
    a citation means the same in any order.
    """
    knowledge = model.adaptation.knowledge
    assert knowledge is not None
    special = model.backend.special_texts()
    lines = []
    for number, hit in reversed(list(enumerate(hits, start=1))):
        label = "" if knowledge.form == "plain" else f"[{number}] "
        lines.append(label + one_line(hit.passage, special))
    return "\n".join([*([own] if own else []), *lines]) or None


def one_line(passage: Passage, special: tuple[str, ...] = ()) -> str:
    """The passage's text as one line, its headings before it, with no special token in it.

    A line end could forge the next line of a prompt ("Answer: ..."), and a special token a turn of
    a chat, so both are broken up. Headings that the text begins with are not repeated.
    """
    text = " ".join(passage.text.split())
    header = " ".join(passage.header.split())
    if header and not text.startswith(passage.headings[-1]):
        text = f"{header}: {text}"
    text = MARKUP.sub(lambda match: _broken_up(match.group()), text)
    for token in special:
        text = text.replace(token, _broken_up(token))
    return text


def _broken_up(token: str) -> str:
    return f"{token[0]} {token[1:]}"
