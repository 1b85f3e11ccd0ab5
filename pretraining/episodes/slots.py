"""Real requests with marked parts: tool calls and questions whose answers people marked by hand.

Snips (Coucke et al. 2018) marks the artist, the city, the date of each request. A request becomes a
call whose parameters are its slots, or a short passage with a question for one of them.
"""

from __future__ import annotations

import random

from pretraining.episodes.calls import Argument, call
from pretraining.episodes.piece import Episode, Piece
from pretraining.episodes.pools import Pools
from pretraining.episodes.reading.paragraphs import TELLS, laid_out

ASKS = [
    "What is the {s}?", "What is the {s}?", "Which {s} is meant?", "Which {s}?", "{s}",
    "Find the {s}.", "Name the {s}.", "What {s} is asked for?", "{S}?",
]  # fmt: skip
SAYINGS = {
    "object_name": "title", "object_type": "kind of work", "timeRange": "time", "best_rating":
    "highest rating", "rating_value": "rating", "geographic_poi": "place", "poi": "place",
    "music_item": "kind of music", "party_size_number": "number of people",
    "object_select": "which one", "party_size_description": "people", "entity_name": "name",
    "location_name": "cinema",
}  # fmt: skip


def _parts(row: dict) -> list[tuple[str, str | None]]:
    return [(str(t), s) for t, s in row["parts"]]


def _said(draw: random.Random, slot: str) -> str:
    usual = slot.replace("_", " ").replace("timeRange", "time range")
    return draw.choice([usual, SAYINGS.get(slot, usual)])


def _marked(parts: list[tuple[str, str | None]], wanted: dict[str, int]) -> list[Piece]:
    """The request in pieces; a space before a marked part goes with it, as tokens have it."""
    out: list[Piece] = []
    for text, slot in parts:
        if slot in wanted:
            space = bool(out) and out[-1].text.endswith(" ")
            if space:
                out[-1] = Piece(out[-1].text[:-1])
            out.append(Piece(" " * space + text, tag=wanted[slot], due=False))
        else:
            out.append(Piece(text))
    return [p for p in out if p.text]


def slot_call(pools: Pools, draw: random.Random) -> Episode:
    """A marked request and the call with its parts as strings."""
    row = draw.choice(pools.slots)
    parts = _parts(row)
    parts[-1] = (parts[-1][0].rstrip(), parts[-1][1])
    once = [s for _, s in parts if s and [q for _, q in parts].count(s) == 1]
    given = []
    for slot in draw.sample(once, len(once)) if draw.random() < 0.5 else once:
        value = next(t.strip() for t, s in parts if s == slot)
        name = draw.choice([slot, slot, _said(draw, slot).replace(" ", "_")])
        if value and name not in [a.name for a in given]:
            blurb = draw.choice(["The {s}.", "{s} of the request", "The {s} that is asked for."])
            blurb = blurb.format(s=_said(draw, slot))
            given.append(Argument(name, "string", blurb, value, "", slot, ""))
    if not given:
        return slot_call(pools, draw)
    given = given[: draw.choice([1, 2, 3, 4])]
    spare = []
    if draw.random() < 0.3:
        other = draw.choice(pools.slots)
        spare = [
            Argument(s, "string", f"The {_said(draw, s)}.", "", "", "", "")
            for _, s in _parts(other)
            if s and s not in [p[1] for p in parts]
        ][:1]
    words = row["intent"].split("_")
    name = draw.choice(["_".join(words), f"{words[0]}.{'_'.join(words[1:])}", "".join(words)])
    request = _marked(parts, {a.said: i for i, a in enumerate(given)})
    blurb = " ".join(words).capitalize() + "."
    return call(draw, name, blurb, given, spare, request, [])


def slot_question(pools: Pools, draw: random.Random) -> Episode:
    """One to four requests, and a question for a part of one of them."""
    row = draw.choice(pools.slots)
    parts = _parts(row)
    asked = [(t, s) for t, s in parts if s and [q for _, q in parts].count(s) == 1]
    if not asked:
        return slot_question(pools, draw)
    answer, slot = draw.choice(asked)
    passage = _marked(parts, {slot: 0})
    question = draw.choice(ASKS).format(s=_said(draw, slot), S=_said(draw, slot).capitalize())
    pieces = laid_out(draw, draw.choice(TELLS), passage, question, answer.strip())
    return Episode("slot", pieces)
