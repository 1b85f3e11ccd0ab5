"""Text that nobody wrote: the words or the sentences of a text in another order."""

from __future__ import annotations

import random

from luthier.probe.windows import sentences

LEAST_SENTENCES = 3
LEAST_WORDS = 4


def shuffled_words(text: str, seed: int) -> str | None:
    """The same words in another order; None for a text of fewer than four."""
    words = text.split()
    return _shuffled(words, seed) if len(words) >= LEAST_WORDS else None


def shuffled_sentences(text: str, seed: int) -> str | None:
    """The same sentences in another order; None for a text of fewer than three."""
    pieces = sentences(text)
    return _shuffled(pieces, seed) if len(pieces) >= LEAST_SENTENCES else None


def joined(text: str, *, words: bool) -> str:
    """The text with its pieces in their own order, joined as the shuffled ones are: white space
    must not tell them apart."""
    return " ".join(text.split() if words else sentences(text))


def _shuffled(pieces: list[str], seed: int) -> str | None:
    draw, order = random.Random(seed), list(pieces)
    for _ in range(8):
        draw.shuffle(order)
        if order != pieces:
            return " ".join(order)
    return None  # one piece, many times
