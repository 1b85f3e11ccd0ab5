"""The files that preference tuning reads elsewhere: pairs, thumbs and ratings, one object a row.

| name | fields |
|---|---|
| preference | prompt, chosen, rejected; also grade, who, source |
| kto | prompt, completion, label (true: good) |
| ratings | prompt, answer, rating (1 to 5) |

Prompts are texts or turns, as TRL and LLaMA-Factory write them; where `chosen` and `rejected` hold
the whole conversation, what they share is the prompt.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from luthier.errors import FeedbackError
from luthier.feedback.exchange.conversation_turns import Turns, answer_text, plain_prompt, turns_of
from luthier.feedback.exchange.judged import ExchangeFormat, JudgedItem, Origin, Row
from luthier.ledger.opinions import GRADES, ItemAnswer, make_item

_PROMPTS = ("prompt", "conversations", "messages", "instruction", "question")
_ANSWERS = ("completion", "answer", "response", "output")


def read_preference(row: Row, origin: Origin) -> JudgedItem:
    """A pair. A row without a grade means "better"."""
    chosen = answer_text(row["chosen"], name="chosen")
    rejected = answer_text(row["rejected"], name="rejected")
    prompt = _shared(row) if _name(row, _PROMPTS) is None else _prompt(row)
    grade = row.get("grade", "better")
    if grade not in GRADES:
        raise FeedbackError(f"the grade is {grade!r}, and grades are {', '.join(GRADES)}")
    models = row.get("models") or {}
    item = make_item(
        prompt,
        [
            ItemAnswer("", chosen, _text(row.get("chosen_model")), _text(models.get("chosen"))),
            ItemAnswer(
                "", rejected, _text(row.get("rejected_model")), _text(models.get("rejected"))
            ),
        ],
        context=_text(row.get("context")),
        batch=origin.batch,
    )
    better, worse = item.answers
    opinion = origin.opinion(
        item, row, kind="preference", answer=better.id, other=worse.id, grade=grade,
        text=_text(row.get("comment")),
    )  # fmt: skip
    return JudgedItem(item, (opinion,))


def write_preference(judged: JudgedItem) -> Iterable[Row]:
    """One row for each preference that is no tie; ties teach no order."""
    for opinion in judged.opinions:
        chosen, rejected = judged.item.answer(opinion.answer), judged.item.answer(opinion.other)
        if opinion.kind != "preference" or opinion.is_tie or chosen is None or rejected is None:
            continue
        yield {
            **_asked(judged),
            "chosen": chosen.text,
            "rejected": rejected.text,
            "grade": opinion.grade,
            **_whose(opinion),
        }


def read_kto(row: Row, origin: Origin) -> JudgedItem:
    """A thumb: an answer, and whether it is good."""
    label = row["label"]
    if isinstance(label, str) and label.lower() in ("true", "false"):
        label = label.lower() == "true"
    if label not in (True, False):
        raise FeedbackError(f"the label is {label!r}, and a label is true or false")
    return _single(row, origin, kind="thumb", value=float(label))


def write_kto(judged: JudgedItem) -> Iterable[Row]:
    """One row for each thumb."""
    for opinion, text in _valued(judged, "thumb"):
        yield {
            **_asked(judged), "completion": text, "label": opinion.value == 1.0, **_whose(opinion)
        }  # fmt: skip


def read_rating(row: Row, origin: Origin) -> JudgedItem:
    """An answer with a number from 1 to 5."""
    try:
        value = float(row["rating"])
    except (TypeError, ValueError):
        raise FeedbackError(f"the rating is {row['rating']!r}, and a rating is a number") from None
    return _single(row, origin, kind="rating", value=value)


def write_rating(judged: JudgedItem) -> Iterable[Row]:
    """One row for each rating."""
    for opinion, text in _valued(judged, "rating"):
        yield {**_asked(judged), "answer": text, "rating": opinion.value, **_whose(opinion)}


def _single(row: Row, origin: Origin, **fields: Any) -> JudgedItem:
    name = _name(row, _ANSWERS)
    if name is not None:
        prompt, answer = _prompt(row), answer_text(row[name], name=name)
    else:
        turns = _prompt(row)
        if turns[-1][0] != "assistant" or len(turns) < 2:
            raise FeedbackError(f"there is no answer: give one of {', '.join(_ANSWERS)}")
        prompt, answer = turns[:-1], turns[-1][1]
    item = make_item(prompt, [answer], context=_text(row.get("context")), batch=origin.batch)
    answered = item.answers[0].id
    opinion = origin.opinion(
        item, row, answer=answered, text=_text(row.get("comment")), **fields
    )  # fmt: skip
    return JudgedItem(item, (opinion,))


def _prompt(row: Row) -> Turns:
    name = _name(row, _PROMPTS)
    if name is None:
        raise FeedbackError(f"there is no prompt: give one of {', '.join(_PROMPTS)}")
    turns = turns_of(row[name], name=name)
    more = row.get("input")  # of LLaMA-Factory's "instruction"
    if name == "instruction" and isinstance(more, str) and more.strip():
        turns = (*turns[:-1], (turns[-1][0], f"{turns[-1][1]}\n{more}"))
    system = row.get("system")
    return (("system", system), *turns) if isinstance(system, str) and system.strip() else turns


def _shared(row: Row) -> Turns:
    """The turns that the chosen and the rejected conversation begin with."""
    both = [
        turns_of(row[name], name=name) if isinstance(row[name], list) else ()
        for name in ("chosen", "rejected")
    ]
    shared = [a for a, b in zip(both[0][:-1], both[1][:-1], strict=False) if a == b]
    if not shared or len(shared) < max(len(turns) for turns in both) - 1:
        raise FeedbackError(f"there is no prompt: give one of {', '.join(_PROMPTS)}")
    return tuple(shared)


def _valued(judged: JudgedItem, kind: str) -> Iterable[tuple[Any, str]]:
    for opinion in judged.opinions:
        answer = judged.item.answer(opinion.answer)
        if opinion.kind == kind and answer is not None:
            yield opinion, answer.text


def _asked(judged: JudgedItem) -> dict[str, Any]:
    context = judged.item.context
    return {
        "prompt": plain_prompt(judged.item.prompt),
        **({} if context is None else {"context": context}),
    }


def _whose(opinion: Any) -> dict[str, Any]:
    return {
        "who": opinion.who,
        "source": opinion.source,
        **({"simulated": True} if opinion.simulated else {}),
        **({"comment": opinion.text} if opinion.text else {}),
    }


def _name(row: Row, names: Iterable[str]) -> str | None:
    return next((name for name in names if name in row), None)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


PREFERENCE = ExchangeFormat(
    "preference",
    lambda row: {"chosen", "rejected"} <= row.keys(),
    read_preference,
    write_preference,
)
KTO = ExchangeFormat("kto", lambda row: "label" in row, read_kto, write_kto)
RATINGS = ExchangeFormat("ratings", lambda row: "rating" in row, read_rating, write_rating)
