"""The terms of a prompt: the sentences of its parts, and what else it shows, each of which can be
left out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from luthier.models.prompt import Prompt

TermPart = Literal[
    "instruction", "context", "objective", "negative", "label descriptions", "demonstration"
]
SENTENCE_PARTS: tuple[TermPart, ...] = ("instruction", "context", "objective", "negative")
# A sentence ends at its mark before white space; where a script has no spaces, at the mark.
_END = re.compile(r"(?<=[.!?…])\s+|(?<=[。！？])|\n+")


@dataclass(frozen=True, slots=True)
class Term:
    """One term. `place` counts within its part."""

    part: TermPart
    place: int
    text: str


def terms_of(prompt: Prompt, added: Sequence[str] = ()) -> tuple[Prompt, tuple[Term, ...]]:
    """A prompt with the sentences of `added` behind its instruction, and all its terms.

    Demonstrations are terms where the prompt shows all of them; of a pool out of which each input
    is shown its nearest, none is.
    """
    if added:
        prompt = replace(prompt, instruction=" ".join([prompt.instruction, *added]).strip())
    found = [
        Term(part, place, text)
        for part in SENTENCE_PARTS
        for place, text in enumerate(sentences(getattr(prompt, part)))
    ]
    if prompt.label_descriptions:
        listed = "; ".join(f"{label}: {text}" for label, text in prompt.label_descriptions)
        found.append(Term("label descriptions", 0, listed))
    if prompt.selection == "all":
        found += [
            Term("demonstration", place, f"{d.input} → {d.target}")
            for place, d in enumerate(prompt.demonstrations)
        ]
    return prompt, tuple(found)


def with_terms(prompt: Prompt, terms: Sequence[Term], shown: Sequence[bool]) -> Prompt:
    """The prompt with those terms that are shown, and nothing else of what can be left out."""
    kept = [term for term, is_shown in zip(terms, shown, strict=True) if is_shown]
    texts = {
        part: " ".join(term.text for term in kept if term.part == part) for part in SENTENCE_PARTS
    }
    changes: dict[str, object] = {str(part): text for part, text in texts.items()}
    if not any(term.part == "label descriptions" for term in kept):
        changes["label_descriptions"] = ()
    if prompt.selection == "all":
        places = {term.place for term in kept if term.part == "demonstration"}
        changes["demonstrations"] = tuple(
            d for place, d in enumerate(prompt.demonstrations) if place in places
        )
    return replace(prompt, **changes)  # type: ignore[arg-type]


def sentences(text: str) -> list[str]:
    """The sentences of a text, without the white space between them."""
    return [part.strip() for part in _END.split(text) if part.strip()]
