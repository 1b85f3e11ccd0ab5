"""Citations: whether each one exists, and whether the cited passage supports the sentence.

A passage supports a sentence when it holds at least half of the sentence's content words (all of a
short one's), all its numbers with the same units, and answers the question (`relevance`). A short
answer that only repeats the question is none. That detects a made-up answer
and one to another question, but not every wrong reading of the right passage.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import regex

from luthier.content import ABSTENTION, Citation
from luthier.models.rag.question_terms import TextWords
from luthier.models.rag.relevance import LEAST, relevance
from luthier.models.rag.units import contradicts, in_words, unit_name, units_of, with_unit
from luthier.scripts import unspaced, words_of

if TYPE_CHECKING:
    from luthier.retrieval import Hit, Passage

MARK = re.compile(r"\s*\[(\d{1,4}(?:\s*,\s*\d{1,4})*)\]")
SENTENCE = re.compile(r"(?<=[.!?])\s+(?!\[)")
ASKS = re.compile(r"(?i)\b(?:which|what|who|whom|whose|when|where|how)\b")
CHOICE = re.compile(r"(?i)\bor\b")
MINUS = r"\-\u2212"  # in a set of characters
WORD = regex.compile(
    rf"(?<![\p{{L}}\p{{N}}])[{MINUS}]?\d+(?:[.,:/]\d+)*(?![\p{{L}}\p{{N}}_])"
    r"|\d+(?:[.,:/]\d+)+|[\p{L}\p{M}\p{N}_]+"
)
ENOUGH = 0.5  # share of a sentence's content words
SHORT = 3  # content words, of which none may be missing
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
    passage, and one of them answers the question; False too for an abstention, which claims
    nothing. `relevance` is the probability that one does, None without a question or a citation.
    `complete` is the text with the unit of a bare number, where the passage has one.
    """

    text: str
    citations: tuple[Citation, ...]
    unknown: tuple[int, ...]
    supported: bool
    relevance: float | None = None
    complete: str = ""

    @property
    def abstains(self) -> bool:
        """Whether the answer says that the documents do not hold it."""
        return is_abstention(self.text)


def check_citations(
    answer: str, hits: Sequence[Hit], *, question: str = "", least: float = LEAST
) -> CitationCheck:
    """Check an answer against the passages that the model was shown, numbered by rank from 1.

    A sentence without a citation that supports it is given the best passage that holds it word for
    word, or else one that supports it; of several the one that fits the question best. `least` is
    the relevance from which a passage answers the question; without a question none is asked for.
    """
    text = without_citations(answer)
    if not text or is_abstention(text):
        return CitationCheck(text, (), (), False, complete=text)
    citations: dict[int, Citation] = {}
    unknown: list[int] = []
    borne_out = True
    for sentence in SENTENCE.split(answer.strip()):
        numbers = _numbers(sentence)
        plain = without_citations(sentence)
        unknown += [n for n in numbers if not 1 <= n <= len(hits)]
        named = [n for n in numbers if 1 <= n <= len(hits)]
        found = [_cited(n, hits[n - 1], plain, question, explicit=True) for n in named]
        if not any(c.supports for c in found):
            found += _best_passage(plain, hits, question)
        for citation in found:
            before = citations.get(citation.number)
            if before is None or (citation.supports and not before.supports):
                citations[citation.number] = citation
        borne_out = borne_out and any(c.supports for c in found)
    cited = tuple(citations.values())
    fitting = _relevance(question, cited, hits)
    return CitationCheck(
        text, cited, tuple(dict.fromkeys(unknown)),
        borne_out and (fitting is None or fitting >= least), fitting, _complete(text, cited, hits),
    )  # fmt: skip


def _relevance(question: str, citations: Sequence[Citation], hits: Sequence[Hit]) -> float | None:
    """That of the most fitting passage among those that support the answer."""
    bearing = [c for c in citations if c.supports]
    if not question.strip() or not bearing:
        return None
    return max(_fit(question, hits[c.number - 1].passage, c.start, c.end) for c in bearing)


def _fit(question: str, passage: Passage, start: int, end: int) -> float:
    return relevance(question, passage, start - passage.start, end - passage.start)


def _complete(text: str, citations: Sequence[Citation], hits: Sequence[Hit]) -> str:
    """The text with its unit, where it is one number and the passage behind it has one."""
    for citation in citations:
        passage = hits[citation.number - 1].passage
        span = (citation.start - passage.start, citation.end - passage.start)
        if citation.supports and span in all_places(text, passage.text):
            return with_unit(text, passage.text, *span)
    return text


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
    words = _content(text)
    if words and find_words(text, passage) is not None:
        return 1.0
    held, near = set(_words(passage)), TextWords.of(passage)
    units = {unit.casefold() for found in units_of(passage).values() for unit in found}

    def holds(word: str) -> bool:
        return (
            word in held
            or near.has(word)
            or unit_name(word).casefold() in units
            or in_words(word, passage)
        )

    return sum(map(holds, words)) / len(words) if words else 0.0


def _best_passage(sentence: str, hits: Sequence[Hit], question: str) -> list[Citation]:
    """The passage that holds the sentence word for word, else the one that supports it most; of
    several the one that fits the question best, then the best by rank."""
    ordered = []
    for number, hit in enumerate(hits, start=1):
        cited = _cited(number, hit, sentence, question)
        share = support(sentence, hit.passage.text)
        exact = share == 1.0 and find_words(sentence, hit.passage.text) is not None
        fit = _fit(question, hit.passage, cited.start, cited.end) if question.strip() else 0.0
        ordered.append(
            ((cited.supports, exact, share if not exact else 1.0, fit, -number), share, cited)
        )
    if not ordered:
        return []
    _, best, cited = max(ordered, key=lambda entry: entry[0])
    return [cited] if best >= _enough(sentence) else []


def _cited(
    number: int, hit: Hit, sentence: str, question: str, *, explicit: bool = False
) -> Citation:
    """A citation of the place that fits the question best, where the sentence stands in several."""
    passage = hit.passage
    places = all_places(sentence, passage.text)
    if len(places) > 1 and question.strip():
        places.sort(key=lambda place: -relevance(question, passage, *place))
    first, last = places[0] if places else (0, len(passage.text))
    supports = support(sentence, passage.text) >= _enough(sentence)
    supports = supports and not echoes(question, sentence)
    supports = supports and not contradicts(sentence, f"{passage.header}\n{passage.text}")
    return Citation(
        number, passage.source, passage.start + first, passage.start + last, passage.text,
        passage.page, supports, explicit,
    )  # fmt: skip


def echoes(question: str, answer: str) -> bool:
    """Whether a short answer only repeats words of a question that asks for a thing: "the method"
    for "Which method ...?". Of "A or B?" one of the two is an answer."""
    words = _content(answer)
    if not ASKS.search(question) or CHOICE.search(question) or not 0 < len(words) <= SHORT:
        return False
    asked = TextWords.of(question)
    return all(asked.has(word) for word in words)


def _content(text: str) -> list[str]:
    return [w for w in _words(text) if w not in FUNCTION_WORDS]


def _enough(sentence: str) -> float:
    return 1.0 if len(_content(sentence)) <= SHORT else ENOUGH


def find_words(text: str, passage: str) -> tuple[int, int] | None:
    """The first span in which a passage holds the words of a text; see `all_places`."""
    return next(iter(all_places(text, passage)), None)


def all_places(text: str, passage: str) -> list[tuple[int, int]]:
    """The spans in which a passage holds the words of a text in order, whole words only: 5 is
    neither in 0.5 nor in -5 nor in 5,000."""
    words = WORD.findall(text)
    if not words:
        return []
    inner = r"[^\p{L}\p{M}\p{N}_]{1,3}?".join(_pattern(word) for word in words)
    first, last = words[0], words[-1]
    before = "" if unspaced(first[0]) else r"(?<![\p{L}\p{M}\p{N}_])"
    after = "" if unspaced(last[-1]) else r"(?![\p{L}\p{M}\p{N}_])"
    if first[0].isdigit():
        before = rf"(?<![\p{{Latin}}\p{{N}}_])(?<!\d[.,:/])(?<!(?:^|[^\p{{L}}\p{{N}}])[{MINUS}])"
    if last[-1].isdigit():
        after = r"(?![\p{Latin}_]|[.,:/]?\d)"
    found = regex.finditer(f"{before}{inner}{after}", passage, regex.IGNORECASE)
    return [match.span() for match in found]


def _pattern(word: str) -> str:
    signed = word[0] in ("-", "\u2212")
    return rf"[{MINUS}]{regex.escape(word[1:])}" if signed else str(regex.escape(word))


def _numbers(text: str) -> list[int]:
    return [int(n) for mark in MARK.finditer(text) for n in mark[1].split(",")]


def _words(text: str) -> list[str]:
    return words_of(text.casefold())
