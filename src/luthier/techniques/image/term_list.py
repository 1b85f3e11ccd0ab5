"""Terms in a comma-separated list, as the prompts of pictures are written."""

from __future__ import annotations

from collections.abc import Sequence

from luthier.errors import TechniqueError


def as_terms(technique: str, setting: str, value: object) -> tuple[str, ...]:
    """Terms from a setting: a sequence of texts, or one text with commas between them.

    TechniqueError for anything else, and for none.
    """
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, Sequence) or not all(isinstance(part, str) for part in parts):
        raise TechniqueError(
            f"{technique}: {setting}={value!r} is no list of terms",
            next_step=f'Write {setting}="sharp, detailed".',
        )
    terms = tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))
    if not terms:
        raise TechniqueError(
            f"{technique}: {setting} names no term", next_step=f'Write {setting}="sharp, detailed".'
        )
    return terms


def joined(words: str, term: str) -> str:
    """A comma-separated list with one term more."""
    return f"{words.rstrip(', ')}, {term}" if words.strip() else term


def holds(words: str, term: str) -> bool:
    """Whether a comma-separated list has a term already."""
    return term.casefold() in {part.strip().casefold() for part in words.split(",")}
