"""What must be seen in a picture and what must not, as words and as facts that a program checks.

The words are requests, with semicolons between them: `a red circle above a blue square; no stars`,
`two green crosses; no yellow; not at night`. A part that begins with `no` or `not` names what must
not be seen: a shape with its features, a feature alone, or a background.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

from luthier.images.scenes.read import Seen
from luthier.images.scenes.scene import (
    BACKGROUNDS,
    COLOURS,
    SIZES,
    TEXTURES,
    Thing,
    has_outline,
    stands,
    stands_in,
)
from luthier.images.scenes.scene_request import (
    BACKGROUND_WORDS,
    Request,
    Wanted,
    parse_request,
)

MOST_THINGS = 10  # of a picture that are matched with what is wanted
FEATURES = ("shape", "colour", "size", "texture")
ALONE = {
    **dict.fromkeys(COLOURS, "colour"),
    **dict.fromkeys(SIZES, "size"),
    **dict.fromkeys((*TEXTURES, "checked"), "texture"),
}


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that a picture should show, or should not, and whether it does."""

    words: str
    holds: bool


@dataclass(frozen=True, slots=True)
class Absent:
    """What must not be seen: a shape with features, or a background."""

    words: str
    wanted: Wanted | None = None
    background: str | None = None

    def seen_in(self, seen: Seen) -> bool:
        """Whether it is seen all the same."""
        if self.wanted is None:
            return seen.background == self.background
        return any(self.wanted.fits(thing) for thing in seen.things)


@dataclass(frozen=True, slots=True)
class Expectation:
    """What must be seen together, and what must not be seen."""

    requests: tuple[Request, ...]
    absent: tuple[Absent, ...]

    def missed_by(self, seen: Seen) -> tuple[str, ...]:
        """In words, what a picture lacks or shows against what was said; empty when all is met."""
        lacks = [words for request in self._open_requests() for words in request.missed_by(seen)]
        return (*lacks, *(f"{a.words} is seen" for a in self.absent if a.seen_in(seen)))

    def met_by(self, seen: Seen) -> bool:
        """Whether a picture shows all that it must, and nothing that it must not."""
        return not self.missed_by(seen)

    def facts(self, seen: Seen) -> tuple[Fact, ...]:
        """Each feature of each shape, the relation, the background, the number, and what must not
        be seen, one by one: how near a picture comes that does not meet everything."""
        found = [fact for request in self._open_requests() for fact in _facts(request, seen)]
        found += [Fact(f"no {a.words}", not a.seen_in(seen)) for a in self.absent]
        return tuple(found)

    def _open_requests(self) -> Iterator[Request]:
        """The requests; one of several leaves room for what the others ask for."""
        for r in self.requests:
            free = r.open or len(self.requests) > 1
            yield Request(r.wanted, r.relation, r.background, r.glowing, free)


def parse_expectation(text: str) -> Expectation:
    """The expectation that a text words. ValueError where a part names nothing that is known."""
    requests: list[Request] = []
    absent: list[Absent] = []
    for part in text.split(";"):
        words = " ".join(part.lower().split())
        if not words:
            continue
        first, _, rest = words.partition(" ")
        if first in ("no", "not"):
            absent.append(_absent(rest))
        else:
            requests.append(parse_request(words))
    if not requests and not absent:
        raise ValueError("it names nothing that must be seen or must not")
    return Expectation(tuple(requests), tuple(absent))


def _absent(words: str) -> Absent:
    background = next((b for w, b in BACKGROUND_WORDS.items() if words in (w, b)), None)
    background = background or next(
        (b for b in BACKGROUNDS if words in (f"{b} background", f"a {b} background")), None
    )
    if background is not None:
        return Absent(words, background=background)
    if words in ALONE:
        alone: dict[str, Any] = {ALONE[words]: words}
        return Absent(words, Wanted(**alone))
    try:
        wanted = parse_request(words).wanted
    except ValueError:
        wanted = ()
    if len(wanted) != 1:
        raise ValueError(
            f"'no {words}' names no shape with its features, no feature and no background"
        )
    return Absent(words, wanted[0])


def _facts(request: Request, seen: Seen) -> list[Fact]:
    slots = [w for w in request.wanted for _ in range(w.number)]
    chosen = _best_match(request, slots, seen.things[:MOST_THINGS])
    facts = []
    for slot, thing in zip(slots, chosen, strict=True):
        for feature in FEATURES:
            value = getattr(slot, feature)
            if value is not None:
                holds = thing is not None and getattr(thing, feature) == value
                facts.append(Fact(f"{slot.words}: {value}", holds))
        if slot.outline is not None:
            holds = thing is not None and has_outline(slot.outline, thing)
            facts.append(Fact(f"{slot.words}: {slot.outline}", holds))
        if not any(getattr(slot, feature) for feature in (*FEATURES, "outline")):
            facts.append(Fact(slot.words, thing is not None))
        if slot.place is not None:
            holds = thing is not None and stands_in(slot.place, thing)
            facts.append(Fact(f"{slot.words}: {slot.place}", holds))
    if request.relation is not None:
        facts.append(Fact(request.relation, _related(request, chosen)))
    if request.wanted and not request.open:
        facts.append(Fact("no more shapes than that", len(seen.things) <= len(slots)))
    if request.background is not None:
        holds = seen.background == request.background
        facts.append(Fact(f"background {request.background}", holds))
    if request.glowing and request.background == "night":
        facts.append(Fact("glowing", seen.halo))
    return facts


def _related(request: Request, chosen: Sequence[Thing | None]) -> bool:
    """Whether the things for the first two parts of a request stand as it says."""
    first, last = chosen[0], chosen[request.wanted[0].number]
    assert request.relation is not None
    return first is not None and last is not None and stands(request.relation, first, last)


def _best_match(
    request: Request, slots: Sequence[Wanted], things: Sequence[Thing]
) -> tuple[Thing | None, ...]:
    """A thing for each slot, each thing once, so that most features are right, and of equals so
    that the relation holds."""
    padded: list[Thing | None] = [*things, *[None] * len(slots)]
    best: tuple[Thing | None, ...] = tuple(padded[len(things) :])
    most = -1
    for choice in permutations(range(len(padded)), len(slots)):
        chosen = tuple(padded[i] for i in choice)
        right = sum(2 * _right(w, t) for w, t in zip(slots, chosen, strict=True) if t is not None)
        right += request.relation is not None and _related(request, chosen)
        if right > most:
            best, most = chosen, right
    return best


def _right(slot: Wanted, thing: Thing) -> int:
    named = [feature for feature in FEATURES if getattr(slot, feature) is not None]
    right = [feature for feature in named if getattr(slot, feature) == getattr(thing, feature)]
    in_place = slot.place is not None and stands_in(slot.place, thing)
    outlined = slot.outline is not None and has_outline(slot.outline, thing)
    return 2 * (len(right) + outlined) + int(in_place) + int(not named)
