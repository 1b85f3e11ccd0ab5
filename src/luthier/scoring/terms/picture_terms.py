"""The terms of a prompt for pictures: its phrases, with commas between them, and those of its
negative part."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from luthier.models.prompt import Prompt
from luthier.scoring.terms.prompt_terms import SENTENCE_PARTS, Term

_COMMA = re.compile(r"\s*[,;\n，、]\s*")


def phrases(text: str) -> list[str]:
    """The phrases of a prompt, without the commas between them."""
    return [part.strip() for part in _COMMA.split(text) if part.strip()]


def picture_terms_of(
    prompt: Prompt, added: Sequence[str] = (), negatives: Sequence[str] = ()
) -> tuple[Prompt, tuple[Term, ...]]:
    """A prompt with the phrases of `added` behind its instruction and those of `negatives` behind
    its negative part, and all its terms."""
    prompt = replace(
        prompt,
        instruction=_joined([prompt.instruction, *added]),
        negative=_joined([prompt.negative, *negatives]),
    )
    return prompt, tuple(
        Term(part, place, text)
        for part in SENTENCE_PARTS
        for place, text in enumerate(phrases(getattr(prompt, part)))
    )


def with_picture_terms(prompt: Prompt, terms: Sequence[Term], shown: Sequence[bool]) -> Prompt:
    """The prompt with those terms that are shown, and no other."""
    kept = [term for term, is_shown in zip(terms, shown, strict=True) if is_shown]
    parts = {
        str(part): _joined([term.text for term in kept if term.part == part])
        for part in SENTENCE_PARTS
    }
    return replace(prompt, **parts)  # type: ignore[arg-type]


def contradictions(terms: Sequence[Term]) -> list[str]:
    """Phrases that stand among the positive and among the negative terms."""
    away = {term.text.lower() for term in terms if term.part == "negative"}
    return sorted({t.text for t in terms if t.part != "negative" and t.text.lower() in away})


def repeated(terms: Sequence[Term]) -> list[str]:
    """Phrases that stand twice on one side: leaving one of them out changes little."""
    sides = [(term.part == "negative", term.text.lower()) for term in terms]
    return sorted({text for side, text in sides if sides.count((side, text)) > 1})


def _joined(parts: Sequence[str]) -> str:
    return ", ".join(phrase for part in parts for phrase in phrases(part))
