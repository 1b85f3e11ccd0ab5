"""What an opinion says as a number, and what people say of an item together.

A preference is from −3 to 3: how much better the item's first answer is than its second, by
Llama 2's grades. A tie is 0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from statistics import mean

from luthier.ledger.opinions import FeedbackItem, Grade, Opinion

STRENGTH: Mapping[Grade | None, int] = {
    "significantly": 3,
    "better": 2,
    "slightly": 1,
    "unsure": 0,
    None: 2,
}
# One person says it, whatever program brought it here.
PEOPLE = ("person", "serving")


def signed(opinion: Opinion, item: FeedbackItem) -> int:
    """A preference as a number from −3 to 3, positive for the answer with the lower id, so that it
    means the same in whatever order answers are stored."""
    if opinion.is_tie or opinion.answer is None:
        return 0
    first = min(a.id for a in item.answers if a.id in (opinion.answer, opinion.other))
    strength = STRENGTH[opinion.grade]
    return strength if opinion.answer == first else -strength


def side(value: float) -> str:
    """Which answer a number prefers: "first", "second" or "tie"."""
    return "tie" if value == 0 else "first" if value > 0 else "second"


def by_source(opinions: Iterable[Opinion]) -> dict[tuple[str, str], list[Opinion]]:
    """Opinions by (source, who); people of all programs have the source "person"."""
    found: dict[tuple[str, str], list[Opinion]] = defaultdict(list)
    for opinion in opinions:
        source = "person" if opinion.source in PEOPLE else opinion.source
        found[source, opinion.who].append(opinion)
    return dict(found)


def people_say(
    opinions: Iterable[Opinion], items: Mapping[str, FeedbackItem], *, without: str | None = None
) -> dict[str, float]:
    """For each item the mean of what people prefer; of contradicting people it may be 0.

    `without` leaves one person out.
    """
    votes: dict[str, list[int]] = defaultdict(list)
    for opinion in opinions:
        of_people = opinion.source in PEOPLE and opinion.who != without
        if of_people and opinion.kind == "preference" and opinion.item in items:
            votes[opinion.item].append(signed(opinion, items[opinion.item]))
    return {item: mean(values) for item, values in votes.items()}
