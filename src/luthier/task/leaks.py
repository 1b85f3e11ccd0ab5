"""The leak check: examples that occur, the same or nearly the same, in two splits."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from luthier.records import Example
from luthier.scripts import composed
from luthier.task.near_duplicates import (
    NEAR_LONG,
    Forms,
    character_shingles,
    jaccard,
    plain,
    words_of,
)
from luthier.task.near_sketches import NearTexts

ALIKE_ANSWERS = 0.5  # Jaccard index of character 4-grams from which two free answers are alike
SAMPLES = 20


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
    says whether they were removed from train and dev (test keeps its copy). Nearly the same is an
    input that differs in a word of about fifteen, headings that many inputs share left aside, and
    has the same answer (or, where answers are free text, one like it). `repeated` counts rows
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
    return plain(example.text), plain(example.context or "")


def same_key(example: Example) -> bytes:
    """A digest of `exact_key`: a hundred thousand long texts are not kept twice."""
    return _digest(*exact_key(example))


def _digest(*parts: str) -> bytes:
    text = "\0".join(parts).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=16).digest()


def check_leaks(
    splits: Mapping[str, Sequence[Example]], *, drop: bool, labels: bool, near: bool = True
) -> tuple[dict[str, tuple[Example, ...]], LeakReport]:
    """The splits without what leaked (or, with `drop` false, as they were), and the report.

    Rows that repeat a row of their own split, with the same target, are dropped in any case: they
    carry nothing new, and in the test split they make intervals too narrow. `labels` says whether
    two targets for one input are a contradiction. Without `near` only what is exactly the same
    leaks: of requests for pictures every word counts.
    """
    kept: dict[str, tuple[Example, ...]] = {}
    repeated = 0
    for name, examples in splits.items():
        first = {(same_key(e), e.target, e.picture): e for e in reversed(examples)}
        kept[name] = tuple(reversed(first.values()))
        repeated += len(examples) - len(kept[name])
    conflicting = _conflicting(kept) if labels else 0
    straddling = _straddling(kept)
    forms = Forms([e.text for examples in kept.values() for e in examples])
    leaks: list[Leak] = []
    known: list[tuple[str, Example]] = [("test", e) for e in kept.get("test", ())]
    for name in ("dev", "train"):
        if name not in kept:
            continue
        index = _Index(known, forms, labels=labels)
        found = {
            n: leak
            for n, e in enumerate(kept[name])
            if (leak := index.find(e, name)) is not None and (near or leak.exact)
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
    """Finds examples again, by exact key and by what is nearly the same."""

    def __init__(self, known: Sequence[tuple[str, Example]], forms: Forms, *, labels: bool) -> None:
        self.known, self.forms, self.labels = known, forms, labels
        self.exact = {same_key(e): n for n, (_, e) in reversed(list(enumerate(known)))}
        self.near = NearTexts(len(known), lambda n: forms.body(known[n][1].text))

    def find(self, example: Example, split: str) -> Leak | None:
        """The known example that this one repeats, exactly or nearly; None when there is none."""
        same = self.exact.get(same_key(example))
        if same is not None:
            name, other = self.known[same]
            return Leak(example.id, split, other.id, name, 1.0, exact=True)
        body = self.forms.body(example.text)
        if body is None:
            return None
        alike = [
            (score, -number)
            for number, score in self.near.find(body).items()
            if self._same_answer(example, self.known[number][1])
            and _same_passage(example, self.known[number][1])
        ]
        if not alike:
            return None
        score, number = max(alike)
        name, other = self.known[-number]
        return Leak(example.id, split, other.id, name, round(score, 4), exact=False)

    def _same_answer(self, one: Example, other: Example) -> bool:
        """An example that is nearly another and has another answer gives nothing away: a sign, a
        word or a number decides there."""
        here, there = plain(one.target), plain(other.target)
        if self.labels or here == there:
            return here == there
        return jaccard(character_shingles(here), character_shingles(there)) >= ALIKE_ANSWERS


def _same_passage(one: Example, other: Example) -> bool:
    """Two questions about different passages are different examples, however alike they read."""
    if not one.context or not other.context:
        return not one.context and not other.context
    here, there = (character_shingles(" ".join(words_of(e.context or ""))) for e in (one, other))
    return jaccard(here, there) >= NEAR_LONG


def _conflicting(splits: Mapping[str, Sequence[Example]]) -> int:
    """The inputs with two targets. Case and width may be what tells two inputs apart."""
    targets: dict[bytes, set[str]] = {}
    for examples in splits.values():
        for e in examples:
            parts = (composed(" ".join(t.split())) for t in (e.text, e.context or ""))
            targets.setdefault(_digest(*parts), set()).add(e.target)
    return sum(len(found) > 1 for found in targets.values())


def _straddling(splits: Mapping[str, Sequence[Example]]) -> dict[str, set[str]]:
    """For train and dev, the groups that occur in a split with precedence too (separate files)."""
    groups = {name: {e.group for e in some if e.group} for name, some in splits.items()}
    test, dev = groups.get("test", set()), groups.get("dev", set())
    return {"dev": dev & test, "train": groups.get("train", set()) & (test | dev)}
