"""Words as sparse vectors, for stores that weigh terms by rarity but do not split text into words.

The value of a term is its part in BM25 (Robertson and Zaragoza 2009, equation 3.15) without the
rarity, which the store multiplies in. The average length is estimated from the settings, because it
is not known before everything has been read.
"""

from __future__ import annotations

import unicodedata
import zlib
from collections import Counter
from functools import lru_cache
from typing import Any

from luthier.retrieval.types import IndexSettings
from luthier.scripts import search_terms

K1, B = 1.2, 0.75
CHARACTERS_PER_WORD = 6


def document_terms(text: str, settings: IndexSettings) -> tuple[list[int], list[float]]:
    """The numbers of the terms of a passage, ascending, and their values."""
    terms = _terms(text, settings.stemmer)
    average_length = settings.chunk_characters / CHARACTERS_PER_WORD
    norm = K1 * (1 - B + B * len(terms) / average_length)
    values = {t: n * (K1 + 1) / (n + norm) for t, n in Counter(terms).items()}
    return sorted(values), [values[t] for t in sorted(values)]


def query_terms(text: str, stemmer: str) -> list[int]:
    """The numbers of the terms of a query, each once."""
    return sorted(set(_terms(text, stemmer)))


def _terms(text: str, stemmer: str) -> list[int]:
    plain = unicodedata.normalize("NFKD", text.casefold())
    words = search_terms("".join(c for c in plain if not unicodedata.combining(c)))
    if stemmer == "english":
        words = [_stem(w) for w in words]
    return [zlib.crc32(w.encode()) for w in words]


@lru_cache(maxsize=100_000)
def _stem(word: str) -> str:
    return str(_stemmer().stem(word))


@lru_cache(maxsize=1)
def _stemmer() -> Any:
    from nltk.stem.porter import PorterStemmer

    return PorterStemmer()
