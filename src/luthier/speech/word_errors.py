"""Word errors: how many words of a given transcript were heard wrongly.

(S + D + I) / N: words that were substituted, left out and put in, over the words of the given
transcript (Woodard and Nelson 1982). Case and punctuation do not count.
"""

from __future__ import annotations

from dataclasses import dataclass

from luthier.scripts import words_of


@dataclass(frozen=True, slots=True)
class WordErrors:
    """`errors` of `words` words of a given transcript."""

    errors: int
    words: int


def word_errors(heard: str, given: str) -> WordErrors:
    """The word errors of what was heard against a given transcript."""
    import jiwer

    wanted, found = words_of(given.casefold()), words_of(heard.casefold())
    if not wanted or not found:
        return WordErrors(max(len(wanted), len(found)), len(wanted))
    counts = jiwer.process_words(" ".join(wanted), " ".join(found))
    return WordErrors(counts.substitutions + counts.deletions + counts.insertions, len(wanted))
