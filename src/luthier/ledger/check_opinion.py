"""Whether an opinion fits the item it is about; FeedbackError says why not."""

from __future__ import annotations

import math

from luthier.errors import FeedbackError
from luthier.ledger.opinions import (
    GRADES,
    HIGHEST_RATING,
    LOWEST_RATING,
    MOST_CHARACTERS,
    OPINION_KINDS,
    SOURCES,
    FeedbackItem,
    Opinion,
)


def check_opinion(opinion: Opinion, item: FeedbackItem) -> None:
    """FeedbackError for an opinion that says nothing about the answers of its item."""
    _check_names(opinion)
    for id in filter(None, (opinion.answer, opinion.other, *opinion.unsafe, *opinion.shown)):
        if item.answer(id) is None:
            raise FeedbackError(
                f"The item {item.id} has no answer {id!r}",
                choices=tuple(a.id for a in item.answers),
                next_step="Name answers of that item.",
            )
    _CHECKS[opinion.kind](opinion)


def _check_names(opinion: Opinion) -> None:
    for name, value, choices in (
        ("kind", opinion.kind, OPINION_KINDS),
        ("source", opinion.source, SOURCES),
        ("grade", opinion.grade, (None, *GRADES)),
    ):
        if value not in choices:
            raise FeedbackError(
                f"An opinion has the {name} {value!r}",
                choices=tuple(str(c) for c in choices if c is not None),
                next_step="Name one of these.",
            )
    if not opinion.who.strip() or not opinion.key.strip():
        raise FeedbackError(
            "An opinion names nobody", next_step="Say whose it is (`who`), and give it a key."
        )
    if len(opinion.text or "") > MOST_CHARACTERS:
        raise FeedbackError(
            f"A comment has {len(opinion.text or ''):,} characters, and {MOST_CHARACTERS:,} are "
            "the most",
            next_step="Send a shorter one.",
        )


def _check_preference(opinion: Opinion) -> None:
    if opinion.is_tie:
        return
    if opinion.grade is None or opinion.other is None or opinion.answer == opinion.other:
        raise FeedbackError(
            "A preference names two answers and how much better the first is",
            choices=GRADES,
            next_step="Give `answer`, `other` and `grade`.",
        )


def _check_rating(opinion: Opinion) -> None:
    _check_value(opinion, lambda v: LOWEST_RATING <= v <= HIGHEST_RATING, "from 1 to 5")


def _check_thumb(opinion: Opinion) -> None:
    _check_value(opinion, lambda v: v in (0.0, 1.0), "1 (up) or 0 (down)")


def _check_value(opinion: Opinion, allowed: object, range_: str) -> None:
    value = opinion.value
    if opinion.answer is None or value is None or not math.isfinite(value) or not allowed(value):  # type: ignore[operator]
        raise FeedbackError(
            f"A {opinion.kind} has the value {value!r} on the answer {opinion.answer!r}",
            next_step=f"Name one answer, and give a number {range_}.",
        )


def _check_text(opinion: Opinion) -> None:
    if not (opinion.text or "").strip() or (opinion.kind == "edit" and opinion.answer is None):
        raise FeedbackError(
            f"The opinion {opinion.kind!r} has no text",
            next_step="Give a reason for a skip; the answer and its new text for an edit.",
        )


_CHECKS = {
    "preference": _check_preference,
    "rating": _check_rating,
    "thumb": _check_thumb,
    "edit": _check_text,
    "skip": _check_text,
}
