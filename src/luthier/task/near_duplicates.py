"""Which texts are nearly the same, once what many texts share is left aside."""

from __future__ import annotations

import math
import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

CHARACTER_GRAM = 4
WORD_GRAM = 3
SHORT = 60  # words up to which texts are compared by their characters, else by their words
NEAR_SHORT = 0.8  # Jaccard index from which two short texts are nearly the same
NEAR_LONG = 0.8  # the same for long texts
MOST_WORDS = 200
MOST_CHARACTERS = 1200
LEAST_CHARACTERS = 24  # a text with less, in fewer than three words, is only ever the same
FORM_GRAM = 2
BUCKET = 20  # texts: twice as fine as the tenth that is looked for
COMMON, COMMON_SHARE = 20, 0.1  # texts in which words that belong to a form stand, at least
_CJK = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORDS = re.compile(rf"[{_CJK}]|[^\s{_CJK}]+")

Shingles = frozenset[int]


@dataclass(frozen=True, slots=True)
class Body:
    """A text without what many texts share: the shingles of its characters, and of its words."""

    characters: Shingles
    words: Shingles
    is_short: bool


class Forms:
    """What many texts of a task share: headings, greetings, the words around a slot.

    Two neighbouring words are part of a form when they stand in a tenth of the texts, and in 20 at
    least. Words are what stands between spaces, so that signs, emoji and vowel signs count; a
    Chinese, Japanese or Korean character is a word.
    """

    def __init__(self, texts: Collection[str]) -> None:
        least = max(COMMON, COMMON_SHARE * len(texts))
        # First which word pairs may be common, then how common they are: memory stays small.
        likely = _likely_common(texts)
        counts: Counter[tuple[str, ...]] = Counter()
        for text in texts if likely else ():
            counts.update(likely.intersection(_grams(words_of(text), FORM_GRAM)))
        self.common = {gram for gram, count in counts.items() if count >= least}

    def body(self, text: str) -> Body | None:
        """What is a text's own; None where that is too little to be nearly another."""
        words = words_of(text)
        if self.common:
            shared: set[int] = set()
            for at, gram in enumerate(_grams(words, FORM_GRAM)):
                if gram in self.common:
                    shared.update(range(at, at + FORM_GRAM))
            words = [word for at, word in enumerate(words) if at not in shared]
        own = " ".join(words)[:MOST_CHARACTERS]
        if len(words) < WORD_GRAM and len(own) < LEAST_CHARACTERS:
            return None
        is_short = len(words) <= SHORT
        # Both where it is about as long as either kind: texts on two sides of the border compare.
        return Body(
            characters=character_shingles(own) if len(words) <= 1.25 * SHORT else frozenset(),
            words=word_shingles(words) if len(words) > 0.8 * SHORT else frozenset(),
            is_short=is_short,
        )


def _likely_common(texts: Collection[str]) -> set[tuple[str, ...]]:
    """All pairs of neighbouring words that stand in a tenth of the texts, and some others.

    Manku and Motwani 2002, "Approximate frequency counts over data streams", section 4.2: at the
    end of each bucket whatever cannot be frequent any more is forgotten.
    """
    counts: Counter[tuple[str, ...]] = Counter()
    since: dict[tuple[str, ...], int] = {}
    bucket = 0
    for number, text in enumerate(texts, 1):
        for gram in set(_grams(words_of(text), FORM_GRAM)):
            counts[gram] += 1
            since.setdefault(gram, bucket)
        if number % BUCKET == 0:
            bucket += 1
            for gram in [g for g, count in counts.items() if count + since[g] <= bucket]:
                del counts[gram], since[gram]
    return set(counts)


class NearIndex:
    """Finds the texts that are nearly a given one, by rare shingles (prefix filtering).

    Two sets with Jaccard index J >= t share at least one of the first n - ceil(t n) + 1 elements of
    either in any common order (Bayardo, Ma and Srikant 2007, "Scaling up all pairs similarity
    search", section 3). In the order used here rare ones come first, so candidates are few, and
    nothing is missed.
    """

    def __init__(self, bodies: Sequence[Body | None]) -> None:
        self.short = _Postings(
            [b.characters if b is not None and b.is_short else None for b in bodies], NEAR_SHORT
        )
        self.long = _Postings(
            [b.words if b is not None and not b.is_short else None for b in bodies], NEAR_LONG
        )

    def find(self, body: Body) -> dict[int, float]:
        """The Jaccard index of each text that is nearly this one, by its number."""
        return self.short.find(body.characters) | self.long.find(body.words)


class _Postings:
    def __init__(self, sets: Sequence[Shingles | None], threshold: float) -> None:
        self.sets, self.threshold = sets, threshold
        self.counts = Counter(s for one in sets if one is not None for s in one)
        self.postings: dict[int, list[int]] = {}
        for number, one in enumerate(sets):
            for shingle in self._rarest(one or frozenset()):
                self.postings.setdefault(shingle, []).append(number)

    def find(self, own: Shingles) -> dict[int, float]:
        candidates = {n for shingle in self._rarest(own) for n in self.postings.get(shingle, ())}
        scores = {n: jaccard(own, self.sets[n] or frozenset()) for n in candidates}
        return {n: score for n, score in scores.items() if score >= self.threshold}

    def _rarest(self, one: Shingles) -> list[int]:
        if not one:
            return []
        ordered = sorted(one, key=lambda s: (self.counts[s], s))
        return ordered[: len(one) - math.ceil(self.threshold * len(one)) + 1]


def plain(text: str) -> str:
    """A text without case, width and spacing."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def words_of(text: str) -> list[str]:
    """The first 200 words of a text."""
    return _WORDS.findall(plain(text))[:MOST_WORDS]


def character_shingles(text: str) -> Shingles:
    """The hashes of the character 4-grams of a text, with spaces around it, so that a change at its
    ends weighs as much as one inside."""
    edge = " " * (CHARACTER_GRAM - 1)
    codes = np.frombuffer(f"{edge}{text}{edge}".encode("utf-32-le", "surrogatepass"), np.uint32)
    codes = codes.astype(np.uint64)
    count = len(codes) - CHARACTER_GRAM + 1
    total = np.zeros(count, np.uint64)
    for place in range(CHARACTER_GRAM):  # 21 bits are a character: of four, a few are lost
        total = (total << np.uint64(16)) ^ (codes[place : place + count] * np.uint64(0x9E3779B1))
    return frozenset(total.tolist())


def word_shingles(words: Sequence[str]) -> Shingles:
    """The hashes of runs of three words."""
    grams = _grams(words, WORD_GRAM)
    return frozenset(zlib.crc32(" ".join(g).encode("utf-8", "surrogatepass")) for g in grams)


def jaccard(one: Shingles, other: Shingles) -> float:
    """|A and B| / |A or B|, 0 to 1; 0 for two empty sets."""
    common = len(one & other)
    union = len(one) + len(other) - common
    return common / union if union else 0.0


def _grams(words: Sequence[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(words[at : at + size]) for at in range(len(words) - size + 1)]
