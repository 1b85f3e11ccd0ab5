"""What is asked of a picture, as words and as facts that a program can check.

The words are a small language: `two large striped red circles on a beige background`, `a blue star
above a green square`, `a pink cross in the top left`, `a red circle and a shape`, `some shapes`.
Words that say nothing about the scene (`please`, `high quality`) may stand anywhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from luthier.images.scenes.read import Seen
from luthier.images.scenes.scene import (
    BACKGROUNDS,
    COLOURS,
    NUMBERS,
    OUTLINES,
    PLACES,
    RELATIONS,
    SHAPES,
    SIZES,
    TEXTURES,
    Thing,
    has_outline,
    stands,
    stands_in,
)

BACKGROUND_WORDS = {
    **{f"on a {name} background": name for name in BACKGROUNDS if name != "night"},
    "at night": "night",
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A shape that is asked for; None leaves a feature open."""

    shape: str | None = None
    colour: str | None = None
    size: str | None = None
    texture: str | None = None
    number: int = 1
    place: str | None = None
    outline: str | None = None

    def fits(self, thing: Thing) -> bool:
        """Whether a thing has every feature that is asked for."""
        return (
            self.shape in (None, thing.shape)
            and self.colour in (None, thing.colour)
            and self.size in (None, thing.size)
            and self.texture in (None, thing.texture)
            and (self.outline is None or has_outline(self.outline, thing))
            and (self.place is None or stands_in(self.place, thing))
        )

    @property
    def words(self) -> str:
        """The shape in words: `two large red circles in the top left`."""
        shape = self.shape or "shape"
        number = {n: w for w, n in NUMBERS.items()}.get(self.number)
        if number is not None:
            shape += "es" if shape.endswith("s") else "s"
        features: list[str | None] = [
            self.size if self.size != "medium" else None,
            self.texture,
            self.colour,
        ]
        features.append(self.outline)
        head = " ".join([*(f for f in features if f), shape])
        article = number or ("an" if head[0] in "aeiou" else "a")
        return f"{article} {head}" + (f" {self.place}" if self.place else "")


@dataclass(frozen=True, slots=True)
class Request:
    """Shapes, how the first stands to the second, and the background. `open`: more may be seen."""

    wanted: tuple[Wanted, ...] = ()
    relation: str | None = None
    background: str | None = None
    glowing: bool = False
    open: bool = field(default=False)

    @property
    def words(self) -> str:
        """The request in words."""
        if not self.wanted:
            text = "some shapes"
        elif self.relation is not None:
            text = f"{self.wanted[0].words} {self.relation} {self.wanted[1].words}"
        else:
            text = " and ".join(w.words for w in self.wanted)
        if self.open and self.wanted:
            text += " and others"
        if self.glowing:
            text += ", glowing"
        if self.background is not None:
            text += " " + next(w for w, b in BACKGROUND_WORDS.items() if b == self.background)
        return text

    def met_by(self, seen: Seen) -> bool:
        """Whether a picture shows what is asked for, and no more shapes than that."""
        return not self.missed_by(seen)

    def missed_by(self, seen: Seen) -> list[str]:
        """In words, what a picture lacks or has too much of; empty when it shows the request."""
        lacks = []
        chosen = _matching(self, list(seen.things))
        if chosen is None:
            lacks += [w.words for w in self.wanted if sum(map(w.fits, seen.things)) < w.number] or [
                self.words
            ]
        elif self.wanted and not self.open and len(chosen) < len(seen.things):
            lacks.append("more shapes than were asked for")
        if self.background not in (None, seen.background):
            lacks.append(f"the background is {seen.background}, not {self.background}")
        if self.glowing and self.background == "night" and not seen.halo:
            lacks.append("nothing glows")
        return lacks


def _matching(request: Request, things: list[Thing]) -> list[Thing] | None:
    """Different things for all that is wanted, under the relation; None where there are none."""
    slots = [w for w in request.wanted for _ in range(w.number)]

    def place(at: int, taken: list[Thing]) -> list[Thing] | None:
        if at == len(slots):
            related = request.relation is None or stands(request.relation, taken[0], taken[-1])
            return taken if related else None
        for thing in things:
            if thing not in taken and slots[at].fits(thing):
                found = place(at + 1, [*taken, thing])
                if found is not None:
                    return found
        return None

    return place(0, [])


_NOUNS = {form: s for s in (*SHAPES, "crescent") for form in (s, f"{s}s", f"{s}es")}
_NOUNS |= {"shape": "", "shapes": ""}
_THING = re.compile(
    r"\b(?:(a|an|one|two|three|some) )?"
    rf"((?:(?:{'|'.join([*SIZES, *TEXTURES, 'checked', *COLOURS, *OUTLINES])}) )*)"
    rf"({'|'.join(sorted(_NOUNS, key=len, reverse=True))})\b(?: ({'|'.join(PLACES)}))?"
)


def parse_request(text: str) -> Request:
    """The request that a text makes. Words that it does not know are left out; ValueError where no
    shape is named and no background is."""
    text = " ".join(text.lower().split())
    wanted, spans = [], []
    for match in _THING.finditer(text):
        article, features, noun, place = match.groups()
        words = features.split()
        if article == "some" and not words and not _NOUNS[noun]:
            continue
        spans.append(match.span())
        wanted.append(
            Wanted(
                _NOUNS[noun] or None,
                next((w for w in words if w in COLOURS), None),
                next((w for w in words if w in SIZES), None),
                next((w for w in words if w in (*TEXTURES, "checked")), None),
                NUMBERS.get(article or "", 1),
                place,
                next((w for w in words if w in OUTLINES), None),
            )
        )
    relation = None
    if len(wanted) > 1:
        between = text[spans[0][1] : spans[1][0]]
        relation = next((r for r in RELATIONS if r in between), None)
    background = next((b for words, b in BACKGROUND_WORDS.items() if words in text), None)
    free = "and others" in text or not wanted
    if not wanted and background is None and "some shapes" not in text:
        raise ValueError(
            f"{text!r} names no shape ({', '.join(SHAPES)}) and no background "
            f"({', '.join(BACKGROUND_WORDS)})"
        )
    return Request(tuple(wanted), relation, background, "glowing" in text, free)
