"""Where a text stands word for word: a suffix array over a shard of a corpus.

The array is libdivsufsort's, through `pydivsufsort`. Only places where a word begins are kept.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from luthier.errors import from_extra
from luthier.probe.corpus_shards import Shard

LONGEST_MATCH = 4000  # bytes
AROUND = 80  # bytes of a corpus that are shown on each side


@dataclass(frozen=True, slots=True)
class CorpusPlace:
    """Where a span stands: the document, its line counted from 1, and the text around it."""

    document: str
    line: int
    before: str
    after: str


class SuffixIndex:
    """Finds the longest match of a text in a shard, and where it stands."""

    def __init__(self, shard: Shard) -> None:
        with from_extra(
            "probe", "Looking for text word for word needs a library that is not installed"
        ):
            from pydivsufsort import divsufsort
        self.shard = shard
        self.text = bytes(shard.text)
        raw = np.frombuffer(self.text, dtype=np.uint8)
        begins = _word_starts(raw)
        array = divsufsort(raw.copy()) if len(raw) else np.zeros(0, dtype=np.int32)
        self.places = array[begins[array]]

    def longest(self, query: bytes) -> int:
        """The bytes of the longest beginning of `query` that stands in the shard at a word's
        start, whether or not it ends with a word."""
        query = query[:LONGEST_MATCH]
        at = bisect_left(self.places, query, key=self._key(len(query)))
        best = 0
        for near in (at - 1, at):
            if 0 <= near < len(self.places):
                best = max(best, _common(query, self._from(int(self.places[near]), len(query))))
        return best

    def standing(self, span: bytes) -> range:
        """The part of the array whose suffixes begin with a span."""
        key = self._key(len(span))
        low = bisect_left(self.places, span, key=key)
        return range(low, bisect_right(self.places, span, lo=low, key=key))

    def whole(self, span: bytes) -> Iterator[int]:
        """The places where a span stands and a word does not go on behind it."""
        for number in self.standing(span):
            place = int(self.places[number])
            following = self.text[place + len(span) : place + len(span) + 1]
            if not following or not is_word_byte(following[0]) or unspaced(following[0]):
                yield place

    def place(self, position: int, length: int) -> CorpusPlace:
        """The place of `length` bytes of the shard, for a reader."""
        line = bisect_right(self.shard.starts, position) - 1
        before = self.text[max(0, position - AROUND) : position].rpartition(b"\0")[2]
        after = self.text[position + length : position + length + AROUND].partition(b"\0")[0]
        return CorpusPlace(
            self.shard.documents[line],
            self.shard.lines[line],
            before.decode("utf-8", "ignore"),
            after.decode("utf-8", "ignore"),
        )

    def _from(self, place: int, length: int) -> bytes:
        return self.text[place : place + length]

    def _key(self, length: int) -> Callable[[int], bytes]:
        return lambda place: self.text[place : place + length]


def is_word_byte(value: int) -> bool:
    """Whether a byte of UTF-8 belongs to a word: letters, digits, and all that is not ASCII."""
    return value >= 0x80 or 48 <= value <= 57 or 65 <= value <= 90 or 97 <= value <= 122


def unspaced(lead: int) -> bool:
    """Whether a byte begins a character of a script that puts no space between words: E3 to E9
    begin most of Chinese and Japanese."""
    return 0xE3 <= lead <= 0xE9


_WORD_BYTES = np.array([is_word_byte(value) for value in range(256)])


def _word_starts(raw: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Whether a word begins at each byte; in scripts without spaces every character begins one."""
    word = _WORD_BYTES[raw]
    begins: npt.NDArray[np.bool_] = word.copy()
    begins[1:] &= ~word[:-1]
    begins |= (raw >= 0xE3) & (raw <= 0xE9)
    return begins


def _common(one: bytes, other: bytes) -> int:
    """The length of the longest common beginning."""
    if one == other[: len(one)]:
        return len(one)
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[:middle] == other[:middle]:
            low = middle
        else:
            high = middle - 1
    return low
