"""Tokenising a text that begins as another one did: only what differs is tokenised.

Prompts of one task share their demonstrations, and a prompt is tokenised again with every label
after it. A tokenizer looks a word or two around, so the tokens of the shared beginning stand: the
end of it is tokenised once more together with the rest, and where both ways agree over a whole word
they are joined. Where they agree nowhere (a script without spaces, one long number), or where a
tokenizer does not say which characters a token covers, the whole text is tokenised.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

AGAIN = 96  # characters of the shared beginning that are tokenised once more, some fifteen words
WORTH_IT = 4 * AGAIN  # a shorter one is tokenised whole

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Tokens:
    """A text and its ids. `spans` are the characters of each id, None where these are not known;
    `ending` counts special tokens that the tokenizer put behind the text. The first `kept` ids are
    those of the text that it was `continued` from."""

    text: str
    special: bool
    ids: list[int]
    spans: list[Span] | None
    ending: int = 0
    kept: int = 0


def tokenised(tokenizer: Any, text: str, *, special: bool) -> Tokens:
    """The whole text, `special` tokens around it where the tokenizer adds such."""
    if not getattr(tokenizer, "is_fast", False):
        ids = tokenizer(text, add_special_tokens=special).input_ids
        return Tokens(text, special, list(ids), None)
    found = tokenizer(text, add_special_tokens=special, return_offsets_mapping=True)
    spans = [(int(lo), int(hi)) for lo, hi in found.offset_mapping]
    ending = 0
    while special and ending < len(spans) - 1 and spans[-1 - ending] == (0, 0):
        ending += 1
    return Tokens(text, special, list(found.input_ids), spans, ending)


def continued(tokenizer: Any, known: Tokens | None, text: str, *, special: bool) -> Tokens:
    """As `tokenised`, from what is known of a text that begins alike."""
    if known is not None and known.special == special:
        common = _common(known.text, text)
        if common == len(text) == len(known.text):
            return known
        if common >= WORTH_IT and known.spans is not None:
            joined = _joined(tokenizer, known, known.spans, text, common)
            if joined is not None:
                return joined
    return tokenised(tokenizer, text, special=special)


def _common(one: str, other: str) -> int:
    """Characters that two texts share from the beginning."""
    lo, hi = 0, min(len(one), len(other))
    while lo < hi:
        middle = (lo + hi + 1) // 2
        if one[lo:middle] == other[lo:middle]:
            lo = middle
        else:
            hi = middle - 1
    return lo


def _joined(
    tokenizer: Any, known: Tokens, spans: list[Span], text: str, common: int
) -> Tokens | None:
    body = len(spans) - known.ending
    first = bisect_right(spans, (common - AGAIN, 0), hi=body) - 1
    if first < 1 or spans[first - 1][1] > spans[first][0]:
        return None  # the ids of one character stay together
    cut = spans[first - 1][1]
    tail = tokenised(tokenizer, text[cut:], special=False)
    assert tail.spans is not None
    moved = [(lo + cut, hi + cut) for lo, hi in tail.spans]
    found = _meeting(known, spans[:body], Tokens(text, False, tail.ids, moved), first, common)
    if found is None:
        return None
    here, there = found
    return Tokens(
        text,
        known.special,
        known.ids[:here] + tail.ids[there:] + known.ids[body:],
        spans[:here] + moved[there:] + spans[body:],
        known.ending,
        here,
    )


def _meeting(
    known: Tokens, spans: Sequence[Span], tail: Tokens, first: int, common: int
) -> tuple[int, int] | None:
    """Where a word begins, in both, whose ids and those of the next word's first agree."""
    assert tail.spans is not None
    place = {span: j for j, span in reversed(list(enumerate(tail.spans)))}
    begun: tuple[int, int] | None = None
    for i in range(first, len(spans)):
        if spans[i][1] >= common:
            return None
        j = place.get(spans[i])
        follows = begun is not None and j == begun[1] + i - begun[0]
        if j is None or known.ids[i] != tail.ids[j]:
            begun = None
        elif _begins_a_word(known.text, spans[i]):
            if follows:
                return begun
            begun = (i, j)
        elif not follows:
            begun = None
    return None


def _begins_a_word(text: str, span: Span) -> bool:
    piece = text[span[0] : span[1]]
    at = span[0] + len(piece) - len(piece.lstrip())
    return 0 < at < span[1] and text[at - 1].isspace()
