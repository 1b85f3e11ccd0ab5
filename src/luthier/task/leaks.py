"""The leak check: examples that occur, the same or nearly the same, in two splits."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from luthier.records import Example

NEAR = 0.8  # Jaccard index of word 3-grams from which two texts count as nearly the same
MOST_WORDS = 200
SAMPLES = 20
_CJK = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
WORDS = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+")


@dataclass(frozen=True, slots=True)
class Leak:
    """One example found again in another split. `similarity` is the Jaccard index, 0 to 1."""

    example_id: str
    split: str
    found_id: str
    found_split: str
    similarity: float
    exact: bool = False


@dataclass(frozen=True, slots=True)
class LeakReport:
    """What the leak check found, and what was done about it.

    `exact` and `near` count examples of train or dev that occur again in test or dev; `dropped`
    says whether they were removed from train and dev (test keeps its copy). `repeated` counts rows
    that were the same as another row of their own split, and were dropped. `conflicting` counts
    inputs that carry more than one label. `straddling_groups` counts groups that separate files put
    in two splits: their rows in train or dev are dropped too. `samples` shows the most similar
    leaks.
    """

    exact: int = 0
    near: int = 0
    dropped: bool = True
    repeated: int = 0
    conflicting: int = 0
    straddling_groups: int = 0
    samples: tuple[Leak, ...] = ()

    def as_dict(self) -> Mapping[str, Any]:
        """The same in plain dicts and lists, for JSON."""
        plain = asdict(self)
        plain["samples"] = [asdict(leak) for leak in self.samples]
        return plain


def exact_key(example: Example) -> tuple[str, str]:
    """Two inputs are the same when this is: text and passage without case, width and spacing."""
    return _plain(example.text), _plain(example.context or "")


def check_leaks(
    splits: Mapping[str, Sequence[Example]], *, drop: bool, labels: bool
) -> tuple[dict[str, tuple[Example, ...]], LeakReport]:
    """The splits without what leaked (or, with `drop` false, as they were), and the report.

    Rows that repeat a row of their own split, with the same target, are dropped in any case: they
    carry nothing new, and in the test split they make intervals too narrow. `labels` says whether
    two targets for one input are a contradiction.
    """
    kept: dict[str, tuple[Example, ...]] = {}
    repeated = 0
    for name, examples in splits.items():
        first = {(exact_key(e), e.target): e for e in reversed(examples)}
        kept[name] = tuple(reversed(first.values()))
        repeated += len(examples) - len(kept[name])
    conflicting = _conflicting(kept) if labels else 0
    straddling = _straddling(kept)
    leaks: list[Leak] = []
    known: list[tuple[str, Example]] = [("test", e) for e in kept.get("test", ())]
    for name in ("dev", "train"):
        if name not in kept:
            continue
        index = _Index(known)
        found = {
            n: leak for n, e in enumerate(kept[name]) if (leak := index.find(e, name)) is not None
        }
        leaks.extend(found.values())
        remaining = [
            e
            for n, e in enumerate(kept[name])
            if n not in found and e.group not in straddling.get(name, ())
        ]
        if drop:
            kept[name] = tuple(remaining)
        known += [(name, e) for e in remaining]
    exact = sum(leak.exact for leak in leaks)
    return kept, LeakReport(
        exact=exact,
        near=len(leaks) - exact,
        dropped=drop,
        repeated=repeated,
        conflicting=conflicting,
        straddling_groups=len({g for groups in straddling.values() for g in groups}),
        samples=tuple(sorted(leaks, key=lambda k: (-k.similarity, k.example_id))[:SAMPLES]),
    )


class _Index:
    """Finds examples again, by exact key and by rare word 3-grams (prefix filtering).

    Two sets with Jaccard index J >= t share at least one of the first n - ceil(t n) + 1 elements of
    either in any common order (Bayardo, Ma and Srikant 2007, "Scaling up all pairs similarity
    search", section 3). In the order used here rare ones come first, so candidates are few, and
    nothing is missed.
    """

    def __init__(self, known: Sequence[tuple[str, Example]]) -> None:
        self.known = known
        self.exact = {exact_key(e): n for n, (_, e) in reversed(list(enumerate(known)))}
        self.shingles = [shingles(e.text) for _, e in known]
        self.counts = Counter(s for one in self.shingles for s in one)
        self.postings: dict[int, list[int]] = {}
        for n, one in enumerate(self.shingles):
            for shingle in self._rarest(one):
                self.postings.setdefault(shingle, []).append(n)

    def find(self, example: Example, split: str) -> Leak | None:
        """The known example that this one repeats, exactly or nearly; None when there is none."""
        same = self.exact.get(exact_key(example))
        if same is not None:
            name, other = self.known[same]
            return Leak(example.id, split, other.id, name, 1.0, exact=True)
        own = shingles(example.text)
        tried = set()
        best: tuple[float, int] | None = None
        for shingle in self._rarest(own):
            for n in self.postings.get(shingle, ()):
                if n in tried:
                    continue
                tried.add(n)
                score = jaccard(own, self.shingles[n])
                if score < NEAR or not _same_passage(example, self.known[n][1]):
                    continue
                if best is None or (score, -n) > (best[0], -best[1]):
                    best = score, n
        if best is None:
            return None
        name, other = self.known[best[1]]
        return Leak(example.id, split, other.id, name, round(best[0], 4), exact=False)

    def _rarest(self, one: frozenset[int]) -> list[int]:
        ordered = sorted(one, key=lambda s: (self.counts[s], s))
        return ordered[: len(one) - math.ceil(NEAR * len(one)) + 1]


def shingles(text: str) -> frozenset[int]:
    """The hashes of the word 3-grams of a text; of the text itself below three words.

    Only the first 200 words count. A Chinese, Japanese or Korean character is a word.
    """
    plain = _plain(text)
    words = WORDS.findall(plain)[:MOST_WORDS]
    if len(words) < 3:
        return frozenset([hash(plain)])
    return frozenset(hash(three) for three in zip(words, words[1:], words[2:], strict=False))


def jaccard(one: frozenset[int], other: frozenset[int]) -> float:
    """|A and B| / |A or B|, 0 to 1."""
    common = len(one & other)
    return common / (len(one) + len(other) - common)


def _same_passage(one: Example, other: Example) -> bool:
    """Two questions about different passages are different examples, however alike they read."""
    if not one.context or not other.context:
        return not one.context and not other.context
    return jaccard(shingles(one.context), shingles(other.context)) >= NEAR


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _conflicting(splits: Mapping[str, Sequence[Example]]) -> int:
    targets: dict[tuple[str, str], set[str]] = {}
    for examples in splits.values():
        for e in examples:
            targets.setdefault(exact_key(e), set()).add(e.target)
    return sum(len(found) > 1 for found in targets.values())


def _straddling(splits: Mapping[str, Sequence[Example]]) -> dict[str, set[str]]:
    """For train and dev, the groups that occur in a split with precedence too (separate files)."""
    groups = {name: {e.group for e in some if e.group} for name, some in splits.items()}
    test, dev = groups.get("test", set()), groups.get("dev", set())
    return {"dev": dev & test, "train": groups.get("train", set()) & (test | dev)}
