"""Tokenising a text that begins as another one did: only what differs is tokenised.

Prompts of one task share their demonstrations, and a prompt is tokenised again with every label
after it. A tokenizer looks a word or two around, so the tokens of the shared beginning stay what
they were: its end is tokenised once more together with the rest, and where both ways agree over a
whole word they are joined. Where they agree nowhere (a script without spaces, one long number), or
where a tokenizer does not say which characters a token covers, the whole text is tokenised.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

OVERLAP = 96  # characters of the shared beginning that are tokenised once more, some fifteen words
LEAST_SHARED = 4 * OVERLAP  # a text that shares less is tokenised whole

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Tokens:
    """A text and its ids.

    `special`: with the special tokens that the tokenizer adds; `ending` counts those behind the
    text. `spans` are the characters of each id, None where these are not known. The first `kept`
    ids are those of the text that `retokenize` started from.
    """

    text: str
    special: bool
    ids: list[int]
    spans: list[Span] | None
    ending: int = 0
    kept: int = 0


def tokenize(tokenizer: Any, texts: Sequence[str], *, special: bool) -> list[Tokens]:
    """Tokenise whole texts in one call, with `special` tokens where the tokenizer adds such."""
    if not texts:
        return []
    if not getattr(tokenizer, "is_fast", False):
        rows = tokenizer(list(texts), add_special_tokens=special).input_ids
        return [Tokens(t, special, list(ids), None) for t, ids in zip(texts, rows, strict=True)]
    found = tokenizer(list(texts), add_special_tokens=special, return_offsets_mapping=True)
    results = []
    for text, ids, offsets in zip(texts, found.input_ids, found.offset_mapping, strict=True):
        spans = [(int(lo), int(hi)) for lo, hi in offsets]
        ending = 0
        while special and ending < len(spans) - 1 and spans[-1 - ending] == (0, 0):
            ending += 1
        results.append(Tokens(text, special, list(ids), spans, ending))
    return results


def retokenize(
    tokenizer: Any, known: Tokens | None, texts: Sequence[str], *, special: bool
) -> list[Tokens]:
    """What `tokenize` returns, found out of the tokens of a text that begins like these."""
    found: dict[int, Tokens] = {}
    if known is not None and known.special == special:
        cuts: dict[int, Cut] = {}
        for k, text in enumerate(texts):
            if text == known.text:
                found[k] = known
            elif (cut := _cut(known, text)) is not None:
                cuts[k] = cut
        tails = [texts[k][cut.at :] for k, cut in cuts.items()]
        for k, tail in zip(cuts, tokenize(tokenizer, tails, special=False), strict=True):
            joined = _joined(known, texts[k], cuts[k], tail)
            if joined is not None:
                found[k] = joined
    rest = [k for k in range(len(texts)) if k not in found]
    whole = tokenize(tokenizer, [texts[k] for k in rest], special=special)
    found.update(zip(rest, whole, strict=True))
    return [found[k] for k in range(len(texts))]


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


@dataclass(frozen=True, slots=True)
class Cut:
    """Where the tokens of a text that shares `common` characters begin to differ: from character
    `at`, where id `first` begins, everything is tokenised once more."""

    common: int
    first: int
    at: int


def _cut(known: Tokens, text: str) -> Cut | None:
    common = _common(known.text, text)
    if common < LEAST_SHARED or known.spans is None:
        return None
    body = len(known.spans) - known.ending
    first = bisect_right(known.spans, (common - OVERLAP, 0), hi=body) - 1
    if first < 1 or known.spans[first - 1][1] > known.spans[first][0]:
        return None  # the ids of one character stay together
    return Cut(common, first, known.spans[first - 1][1])


def _joined(known: Tokens, text: str, cut: Cut, tail: Tokens) -> Tokens | None:
    """The known ids up to a word in which they agree with those of the tail, and the tail's from
    there on; None where they agree over no whole word."""
    assert known.spans is not None
    assert tail.spans is not None
    spans, body = known.spans, len(known.spans) - known.ending
    moved = [(lo + cut.at, hi + cut.at) for lo, hi in tail.spans]
    place = {span: j for j, span in reversed(list(enumerate(moved)))}
    begun: tuple[int, int] | None = None
    for i in range(cut.first, body):
        if spans[i][1] >= cut.common:
            return None
        j = place.get(spans[i])
        follows = begun is not None and j == begun[1] + i - begun[0]
        if j is None or known.ids[i] != tail.ids[j]:
            begun = None
        elif _begins_a_word(known.text, spans[i]):
            if begun is not None and follows:
                break
            begun = (i, j)
        elif not follows:
            begun = None
    else:
        return None
    # A word begins here in both, and they agree as far as the beginning of the next one.
    here, there = begun
    return Tokens(
        text,
        known.special,
        known.ids[:here] + tail.ids[there:] + known.ids[body:],
        spans[:here] + moved[there:] + spans[body:],
        known.ending,
        here,
    )


def _begins_a_word(text: str, span: Span) -> bool:
    piece = text[span[0] : span[1]]
    at = span[0] + len(piece) - len(piece.lstrip())
    return 0 < at < span[1] and text[at - 1].isspace()
