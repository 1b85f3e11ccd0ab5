"""Which spans of an answer stand word for word in a corpus, and where (after OLMoTrace, Liu et al.
2025, arXiv:2504.07096): the longest spans, none inside another, the rarest first."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import regex

from luthier.context import report_progress
from luthier.probe.corpus_shards import SHARD_BYTES, Shard, even, shards
from luthier.probe.suffix_index import CorpusPlace, SuffixIndex
from luthier.probe.traced_answers import TracedAnswer

LEAST_WORDS = 6  # of a span in a corpus
LEAST_IN_PASSAGES = 3  # of a span in the passages that an answer was given
PLACES = 3  # of a span that are shown
COUNTED = 1000  # places of a span that are counted, at most
SHOWN = 200  # answers whose spans are kept
_WORDS = regex.compile(
    r"(?V1)[\p{Han}\p{Hiragana}\p{Katakana}]|[[\p{L}\p{M}\p{N}]--[\p{Han}\p{Hiragana}\p{Katakana}]]+"
)


@dataclass(frozen=True, slots=True)
class TracedSpan:
    """A span of an answer that stands in the corpus. `start` and `end` count the characters of the
    answer with even white space, `count` the places found (at most 1,000 a shard). `by_chance` is
    how often words of these frequencies would stand in this order: a span of common words is no
    trace."""

    text: str
    start: int
    end: int
    words: int
    count: int
    by_chance: float
    places: tuple[CorpusPlace, ...] = ()


@dataclass(frozen=True, slots=True)
class AnswerTraces:
    """One answer, its spans in the corpus, and those in its own passages. The shares are of its
    words that stand in such spans; `passage_share` is None where it had no passages."""

    id: str
    text: str
    words: int
    spans: tuple[TracedSpan, ...] = ()
    share: float | None = None
    passage_spans: tuple[TracedSpan, ...] = ()
    passage_share: float | None = None


@dataclass(frozen=True, slots=True)
class Traces:
    """What was found. `share` and `passage_share` are of all words of all answers; `lacks`: why
    there is nothing."""

    lacks: str = ""
    answers: tuple[AnswerTraces, ...] = ()
    answers_of: int = 0
    share: float | None = None
    passage_share: float | None = None
    corpus_bytes: int = 0
    shards: int = 0
    least_words: int = LEAST_WORDS
    unread: tuple[str, ...] = ()

    def sentences(self) -> list[str]:
        """What was found, in words."""
        from luthier.probe.corpus_words import trace_sentences

        return trace_sentences(self)


@dataclass(slots=True)
class _Query:
    """One text that is looked up: its bytes, and where its words begin and end in them."""

    text: str
    data: bytes
    words: list[tuple[int, int]]
    found: dict[tuple[int, int], TracedSpan] = field(default_factory=dict)


def find_traces(
    answers: Sequence[TracedAnswer],
    corpus: Sequence[str],
    *,
    least_words: int = LEAST_WORDS,
    shard_bytes: int = SHARD_BYTES,
) -> Traces:
    """The traces of answers in a corpus, and in their own passages.

    The corpus is worked through in shards, so that one of any size can be searched. TaskError where
    it holds nothing, UserError where the library is missing.
    """
    kept = [answer for answer in answers if answer.text.strip()][:SHOWN]
    if not kept:
        return Traces(lacks="there is no answer with words in it", answers_of=len(answers))
    if not corpus and not any(answer.passages for answer in kept):
        return Traces(
            lacks="no corpus is given (--corpus), and no answer has passages of its own",
            answers_of=len(answers),
        )
    unread: list[str] = []
    queries = [_query(answer.text) for answer in kept]
    size, number, frequencies = 0, 0, Counter[bytes]()
    if corpus:
        for shard in shards(corpus, unread, shard_bytes=shard_bytes):
            number, size = number + 1, size + len(shard.text)
            report_progress(number, number + 1, f"{size / 1e6:,.0f} MB of the corpus searched")
            search(shard, queries, least_words)
            frequencies.update(_counts(shard, queries))
    traced = []
    for answer, query in zip(kept, queries, strict=True):
        spans = _rarest(_maximal(query), frequencies, size)
        own = _in_passages(answer)
        traced.append(
            AnswerTraces(
                answer.id,
                query.text,
                len(query.words),
                spans,
                _share(query, spans) if corpus else None,
                own,
                _share(query, own) if answer.passages else None,
            )
        )
    return Traces(
        answers=tuple(traced),
        answers_of=len(answers),
        share=_mean([(t.share, t.words) for t in traced]),
        passage_share=_mean([(t.passage_share, t.words) for t in traced]),
        corpus_bytes=size,
        shards=number,
        least_words=least_words,
        unread=tuple(unread),
    )


def longest_spans(
    texts: Sequence[str], corpus: Sequence[str], *, shard_bytes: int = SHARD_BYTES
) -> list[tuple[int, int]]:
    """(words of the longest span that stands in the corpus, words of the text) for each text."""
    queries = [_query(text) for text in texts]
    for shard in shards(corpus, [], shard_bytes=shard_bytes):
        search(shard, queries, 1)
    return [
        (max((span.words for span in query.found.values()), default=0), len(query.words))
        for query in queries
    ]


def search(shard: Shard, queries: Sequence[_Query], least_words: int) -> None:
    """Add the spans of a shard to each query."""
    index = SuffixIndex(shard)
    for query in queries:
        reached = 0
        for first, (start, _) in enumerate(query.words):
            length = index.longest(query.data[start:])
            last = _last_word(query, first, start + length)
            needed = min(least_words, len(query.words))
            while last - first >= needed:
                span = query.data[start : query.words[last - 1][1]]
                places = list(islice(index.whole(span), COUNTED))
                if places:
                    break
                last -= 1  # a longer word stands there
            else:
                continue
            if last <= reached:  # inside the span before
                continue
            reached = last
            places = [place for place in places if place + len(span) > shard.repeated]
            if not places:  # counted in the shard before
                continue
            _add(query, first, last, span, index, places)


def _add(
    query: _Query, first: int, last: int, span: bytes, index: SuffixIndex, places: Sequence[int]
) -> None:
    start, end = query.words[first][0], query.words[last - 1][1]
    known = query.found.get((first, last))
    shown = tuple(index.place(place, len(span)) for place in places[:PLACES])
    if known is not None:
        shown = (known.places + shown)[:PLACES]
    query.found[first, last] = TracedSpan(
        span.decode("utf-8", "replace"),
        len(query.data[:start].decode("utf-8", "ignore")),
        len(query.data[:end].decode("utf-8", "ignore")),
        last - first,
        len(places) + (0 if known is None else known.count),
        math.nan,
        shown,
    )


def _query(text: str) -> _Query:
    plain = even(text)
    sizes = [0]
    for character in plain:
        sizes.append(sizes[-1] + len(character.encode("utf-8", "replace")))
    words = [(sizes[m.start()], sizes[m.end()]) for m in _WORDS.finditer(plain)]
    return _Query(plain, plain.encode("utf-8", "replace"), words)


def _last_word(query: _Query, first: int, end: int) -> int:
    """The number behind the last word that ends before `end`."""
    last = first
    while last < len(query.words) and query.words[last][1] <= end:
        last += 1
    return last


def _maximal(query: _Query) -> list[TracedSpan]:
    """The spans of all shards of which none lies inside another."""
    kept: list[tuple[int, int]] = []
    for first, last in sorted(query.found, key=lambda span: (span[0], -span[1])):
        if not kept or last > kept[-1][1]:
            kept.append((first, last))
    return [query.found[key] for key in kept]


def _counts(shard: Shard, queries: Iterable[_Query]) -> Counter[bytes]:
    """How often each word of the queries stands in the shard."""
    wanted = {query.data[lo:hi].lower() for query in queries for lo, hi in query.words}
    found = Counter(word.lower() for word in regex.findall(rb"[0-9A-Za-z\x80-\xff]+", shard.text))
    counts = Counter({word: found[word] for word in wanted if word in found})
    counts[b""] = sum(found.values())
    return counts


def _rarest(
    spans: Sequence[TracedSpan], frequencies: Counter[bytes], size: int
) -> tuple[TracedSpan, ...]:
    """The spans with what chance would give, the least likely first."""
    total = max(1, frequencies[b""])
    told = []
    for span in spans:
        words = regex.findall(rb"[0-9A-Za-z\x80-\xff]+", span.text.encode("utf-8", "replace"))
        log = math.log(total) + sum(
            math.log(max(1, frequencies[word.lower()]) / total) for word in words
        )
        told.append(replace(span, by_chance=math.exp(min(log, 300.0))))
    return tuple(sorted(told, key=lambda span: span.by_chance))


def _in_passages(answer: TracedAnswer) -> tuple[TracedSpan, ...]:
    if not answer.passages:
        return ()
    shard = Shard()
    for number, passage in enumerate(answer.passages, 1):
        shard.add(f"passage {number}", 1, even(passage))
    query = _query(answer.text)
    search(shard, [query], LEAST_IN_PASSAGES)
    return _rarest(_maximal(query), _counts(shard, [query]), len(shard.text))


def _share(query: _Query, spans: Sequence[TracedSpan]) -> float | None:
    """The share of an answer's words that stand in spans."""
    if not query.words:
        return None
    covered: set[int] = set()
    for first, last in query.found:
        covered.update(range(first, last))
    if not query.found:  # those of passages are found by a query of their own
        ends = [(span.start, span.end) for span in spans]
        starts = [len(query.data[:lo].decode("utf-8", "ignore")) for lo, _ in query.words]
        covered = {n for n, at in enumerate(starts) if any(lo <= at < hi for lo, hi in ends)}
    return len(covered) / len(query.words)


def _mean(parts: Sequence[tuple[float | None, int]]) -> float | None:
    known = [(share, words) for share, words in parts if share is not None and words]
    whole = sum(words for _, words in known)
    return sum(share * words for share, words in known) / whole if whole else None
