"""Citations: whether each one exists, and whether the cited passage supports the sentence.

A passage supports a sentence when it holds at least half of the sentence's content words. Such an
overlap of tokens detects a made-up answer, but not a wrong reading of the right passage.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from luthier.content import ABSTENTION, Citation

if TYPE_CHECKING:
    from luthier.retrieval import Hit, Passage

MARK = re.compile(r"\s*\[(\d{1,4}(?:\s*,\s*\d{1,4})*)\]")
SENTENCE = re.compile(r"(?<=[.!?])\s+(?!\[)")
ENOUGH = 0.5  # share of a sentence's content words
FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a an and are as at be by for from had has have he her his in is it its of on or she that "
        "the their they this to was were which who will with",
    )
)


@dataclass(frozen=True, slots=True)
class CitationCheck:
    """An answer without its citation marks, the passages behind it, and its faulty citations.

    `unknown` are cited numbers that no passage has. `supported`: every sentence is borne out by a
    passage; False too for an abstention, which claims nothing.
    """

    text: str
    citations: tuple[Citation, ...]
    unknown: tuple[int, ...]
    supported: bool

    @property
    def abstains(self) -> bool:
        """Whether the answer says that the documents do not hold it."""
        return is_abstention(self.text)


def check_citations(answer: str, hits: Sequence[Hit]) -> CitationCheck:
    """Check an answer against the passages that the model was shown, numbered by rank from 1.

    A sentence without a citation is given the best passage that holds it word for word, or else
    one that supports it.
    """
    text = without_citations(answer)
    if not text or is_abstention(text):
        return CitationCheck(text, (), (), False)
    citations: dict[int, Citation] = {}
    unknown: list[int] = []
    borne_out = True
    for sentence in SENTENCE.split(answer.strip()):
        numbers = _numbers(sentence)
        plain = without_citations(sentence)
        unknown += [n for n in numbers if not 1 <= n <= len(hits)]
        named = [n for n in numbers if 1 <= n <= len(hits)]
        found = [_cited(n, hits[n - 1].passage, plain, explicit=True) for n in named]
        if not numbers:
            found = _best_passage(plain, hits)
        for citation in found:
            before = citations.get(citation.number)
            if before is None or (citation.supports and not before.supports):
                citations[citation.number] = citation
        borne_out = borne_out and any(c.supports for c in found)
    return CitationCheck(text, tuple(citations.values()), tuple(dict.fromkeys(unknown)), borne_out)


def without_citations(text: str) -> str:
    """The text less marks like [1] or [2, 3]."""
    return MARK.sub("", text).strip()


def is_abstention(text: str) -> bool:
    """Whether a text says that the documents do not hold the answer."""
    return " ".join(re.findall(r"\w+", text.casefold())).startswith(ABSTENTION)


def support(text: str, passage: str) -> float:
    """The share of a text's content words that a passage holds; 1 for a text it contains whole.

    A text without a content word (a bare "it is") has support 0.
    """
    words = [w for w in _words(text) if w not in FUNCTION_WORDS]
    if words and _find(text, passage) is not None:
        return 1.0
    held = set(_words(passage))
    return sum(w in held for w in words) / len(words) if words else 0.0


def _best_passage(sentence: str, hits: Sequence[Hit]) -> list[Citation]:
    """The best passage that holds the sentence word for word, else the one that supports it
    most."""
    for number, hit in enumerate(hits, start=1):
        if support(sentence, hit.passage.text) == 1.0 and _find(sentence, hit.passage.text):
            return [_cited(number, hit.passage, sentence, explicit=False)]
    supports = [(support(sentence, h.passage.text), -n) for n, h in enumerate(hits, start=1)]
    best, place = max(supports, default=(0.0, 0))
    if best < ENOUGH:
        return []
    return [_cited(-place, hits[-place - 1].passage, sentence, explicit=False)]


def _cited(number: int, passage: Passage, sentence: str, *, explicit: bool) -> Citation:
    span = _find(sentence, passage.text) or (0, len(passage.text))
    supports = support(sentence, passage.text) >= ENOUGH
    start, end = passage.start + span[0], passage.start + span[1]
    return Citation(
        number, passage.source, start, end, passage.text, passage.page, supports, explicit
    )


def _find(text: str, passage: str) -> tuple[int, int] | None:
    """The span in which a passage holds the words of a text in order, whole words only."""
    words = re.findall(r"\w+", text)
    if not words:
        return None
    pattern = r"(?<!\w)" + r"\W{1,3}".join(map(re.escape, words)) + r"(?!\w)"
    match = re.search(pattern, passage, re.IGNORECASE)
    return match.span() if match else None


def _numbers(text: str) -> list[int]:
    return [int(n) for mark in MARK.finditer(text) for n in mark[1].split(",")]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())
