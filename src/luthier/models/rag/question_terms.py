"""What a question is about: its telling words, and how many of them a text has."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from luthier.scripts import unspaced, words_of

# Words that ask, point or join, and tell nothing about what is asked.
EMPTY = frozenset(
    re.findall(
        r"\w+",
        "a about after again all also am an and any are as at be because been before being "
        "between but by can could did do does doing done during each either else ever every "
        "exactly few for from give gives given get gets had has have having he her here him his "
        "how i if in into is it its just kind know let like long made make makes many may me "
        "might more most much must my name named names need needs no nor not of off on one only "
        "or other our out over own per please say says shall she should so some such take takes "
        "tell than that the their them then there these they this those through to too under "
        "until up us use used uses using very was way we were what when where whether which "
        "while who whom whose why will with without would you your far tall old high big large "
        "called mean means",
    )
)
_WORD = re.compile(r"\w*_\w+|[^\W_]+(?:['’.-][^\W_]+)*")


@dataclass(frozen=True, slots=True)
class QuestionTerms:
    """The telling words of a question. `names` are those of them that name one thing: capitalised
    within the sentence, or with digits or underscores."""

    words: tuple[str, ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, question: str) -> QuestionTerms:
        """The terms of a question, each once, evened out."""
        words: dict[str, None] = {}
        names: dict[str, None] = {}
        first = True
        for word in _split(question):
            plain = _even(word)
            told = plain not in EMPTY and len(plain) > 0
            is_name = any(c.isdigit() or c == "_" for c in word) or (
                not first and word[:1].isupper() and not question.isupper()
            )
            first = False
            if told:
                words[plain] = None
                if is_name:
                    names[plain] = None
        return cls(tuple(words), tuple(names))

    def coverage(self, text: str) -> float:
        """The share of the words that a text has; 1 for a question without telling words."""
        if not self.words:
            return 1.0
        held = TextWords.of(text)
        return sum(held.has(word) for word in self.words) / len(self.words)

    def missing_names(self, text: str) -> tuple[str, ...]:
        """The names that a text does not have."""
        held = TextWords.of(text)
        return tuple(name for name in self.names if not held.has(name))


@dataclass(frozen=True, slots=True)
class TextWords:
    """The words of a text, evened out, and their stems."""

    words: frozenset[str]
    stems: frozenset[str]

    @classmethod
    def of(cls, text: str) -> TextWords:
        """The words of a text; parts of joined words too."""
        found: set[str] = set()
        for word in _split(text):
            plain = _even(word)
            found.add(plain)
            found.update(re.split(r"['’._-]", plain))
        return cls(frozenset(found), frozenset(map(_stem, found)))

    def has(self, word: str) -> bool:
        """Whether a word or its stem is there."""
        return word in self.words or _stem(word) in self.stems


def _even(word: str) -> str:
    """Lower case, without accents of Latin letters and without a possessive."""
    plain = re.sub("[\u0300-\u036f]", "", unicodedata.normalize("NFKD", word.casefold()))
    return re.sub(r"['’]s$", "", unicodedata.normalize("NFC", plain))


def _split(text: str) -> list[str]:
    """The words of a text: identifiers and numbers whole, characters of scripts without spaces."""
    if any(map(unspaced, text)):
        return words_of(text)
    found: list[str] = _WORD.findall(text)
    return found


def _stem(word: str) -> str:
    """A word without the commonest English endings; a short one and an identifier as it is."""
    if len(word) < 4 or not word.isalpha():
        return word
    for ending in ("ations", "ation", "ings", "ing", "ies", "ied", "ers", "ed", "es", "er", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    return word.rstrip("eiy") if len(word) > 3 else word
