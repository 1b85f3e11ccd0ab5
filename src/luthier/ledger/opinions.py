"""What was asked, what was answered, and what people and judges say of it: the records.

An item is one prompt with its answers. An opinion is one record whoever holds it: a person, a
judge, a script, or a user of a served model; `source` says which.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from luthier.errors import FeedbackError

# How much better one answer is: those of Llama 2 (arXiv:2307.09288, section 3.1). Of "unsure" no
# answer is the better one.
Grade = Literal["significantly", "better", "slightly", "unsure"]
Source = Literal["person", "judge", "script", "serving"]
# "preference": `answer` is better than `other`, by `grade`. "rating": `value` from 1 to 5.
# "thumb": `value` 1 or 0. "edit": `text` should have been the answer. "skip": `text` says why not.
OpinionKind = Literal["preference", "rating", "thumb", "edit", "skip"]

GRADES: tuple[Grade, ...] = get_args(Grade)
SOURCES: tuple[Source, ...] = get_args(Source)
OPINION_KINDS: tuple[OpinionKind, ...] = get_args(OpinionKind)
LOWEST_RATING, HIGHEST_RATING = 1.0, 5.0
HELD_OUT_SHARE = 0.25
MOST_CHARACTERS = 4_000_000  # of an answer or a comment: what is longer is no answer


@dataclass(frozen=True, slots=True)
class ItemAnswer:
    """One answer to an item's prompt. `model` and `technique` say who gave it; no annotator sees
    them."""

    id: str
    text: str
    model: str | None = None
    technique: str | None = None


@dataclass(frozen=True, slots=True)
class FeedbackItem:
    """A prompt and its answers. `prompt` holds the turns of a conversation as (role, text).

    `held_out`: opinions on it measure and never train. All items of one prompt are on one side.
    """

    id: str
    prompt: tuple[tuple[str, str], ...]
    answers: tuple[ItemAnswer, ...]
    context: str | None = None
    held_out: bool = False
    batch: str = ""

    @property
    def question(self) -> str:
        """The last turn of the prompt."""
        return self.prompt[-1][1]

    def answer(self, id: str | None) -> ItemAnswer | None:
        """The answer with that id; None where there is none."""
        return next((a for a in self.answers if a.id == id), None)


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one source says of one item. `key` makes sending it twice the same as sending it once.

    `shown` is the order in which the answers were shown; `unsafe` names answers that were marked
    unsafe. `simulated`: a script that plays a person said it. `time` is set when it is stored.
    """

    key: str
    item: str
    kind: OpinionKind
    who: str
    source: Source = "person"
    simulated: bool = False
    answer: str | None = None
    other: str | None = None
    grade: Grade | None = None
    value: float | None = None
    unsafe: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()
    text: str | None = None
    seconds: float | None = None
    time: str = ""

    @property
    def is_tie(self) -> bool:
        """Whether it prefers neither answer."""
        return self.kind == "preference" and (self.answer is None or self.grade == "unsure")


@dataclass(frozen=True, slots=True)
class Invite:
    """A link by which one person may annotate. `expires` is a time in UTC, None: never."""

    token: str
    who: str
    kind: OpinionKind = "preference"
    expires: str | None = None


@dataclass(frozen=True, slots=True)
class TunedModel:
    """A model of the feedback loop: V0, V1, …; `record` is what was measured of it, as JSON."""

    id: str
    name: str
    folder: str
    method: str
    parent: str | None = None
    record: Mapping[str, object] = field(default_factory=dict)
    created: str = ""


def make_item(
    prompt: str | Sequence[tuple[str, str]], answers: Sequence[ItemAnswer | str],
    *, context: str | None = None, batch: str = "", held_out: bool | None = None,
) -> FeedbackItem:  # fmt: skip
    """An item whose ids come from its content, in whatever order the answers stand, so that adding
    it twice adds it once.

    `held_out` None lets the hash of the prompt decide, a quarter of prompts. FeedbackError where
    there is nothing to judge: no prompt, no answer, or twice the same answer.
    """
    turns = (("user", prompt),) if isinstance(prompt, str) else tuple(prompt)
    if not turns or not turns[-1][1].strip():
        raise FeedbackError("An item has no prompt", next_step="Give the text that was asked.")
    given = [a if isinstance(a, ItemAnswer) else ItemAnswer("", a) for a in answers]
    if not given:
        raise FeedbackError(
            f"There is no answer to {turns[-1][1][:60]!r}", next_step="Give one answer or more."
        )
    if len({a.text for a in given}) < len(given):
        raise FeedbackError(
            f"Two answers to {turns[-1][1][:60]!r} are the same text",
            next_step="Leave one of them out: nobody could prefer either.",
        )
    long = max(len(a.text) for a in given)
    if long > MOST_CHARACTERS:
        raise FeedbackError(
            f"An answer has {long:,} characters, and {MOST_CHARACTERS:,} are the most",
            next_step="Cut it before it is judged.",
        )
    question = digest_of([turns, context])
    item = digest_of([question, sorted(a.text for a in given)])
    if held_out is None:
        held_out = int(question[:8], 16) / 0xFFFFFFFF < HELD_OUT_SHARE
    return FeedbackItem(
        id=item,
        prompt=turns,
        answers=tuple(
            ItemAnswer(f"{item}-{digest_of([item, a.text])[:6]}", a.text, a.model, a.technique)
            for a in given
        ),
        context=context,
        held_out=held_out,
        batch=batch,
    )


def digest_of(value: object) -> str:
    """16 hex digits of the SHA-256 of a plain value."""
    text = json.dumps(value, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
