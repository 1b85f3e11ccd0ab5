"""Argilla's records: fields, and the responses of each user to each question.

The fields are `prompt`, `response_a` and `response_b` (one answer: `response_a` alone), the
questions `preference` (a grade and a side, or "unsure"), `rating`, `thumb`, `edit` and `comment`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from luthier.errors import FeedbackError
from luthier.feedback.exchange.conversation_turns import answer_text, plain_prompt, turns_of
from luthier.feedback.exchange.judged import ExchangeFormat, JudgedItem, Origin, Row
from luthier.ledger.opinions import GRADES, Opinion, make_item

_FIRST = ("response_a", "response1", "response_1", "generation", "response", "answer", "completion")
_SECOND = ("response_b", "response2", "response_2")


def read_argilla(row: Row, origin: Origin) -> JudgedItem:
    """A record with its responses; suggestions count as opinions of a judge."""
    fields = row.get("fields")
    if not isinstance(fields, Mapping):
        raise FeedbackError("the record has no fields")
    prompt = next((fields[n] for n in ("prompt", "instruction", "question") if n in fields), None)
    names = [next((n for n in group if n in fields), None) for group in (_FIRST, _SECOND)]
    if prompt is None or names[0] is None:
        raise FeedbackError("the record needs the fields 'prompt' and 'response_a'")
    answers = [answer_text(fields[n], name=n) for n in names if n is not None]
    item = make_item(
        turns_of(prompt, name="prompt"), answers, context=fields.get("context"), batch=origin.batch
    )
    opinions = []
    for question, given in (row.get("responses") or {}).items():
        for response in given:
            who = {"who": str(response.get("user_id") or origin.who)}
            opinions += _opinions(item, origin, question, response.get("value"), {**who})
    for question, suggestion in (row.get("suggestions") or {}).items():
        who = {"who": str(suggestion.get("agent") or "suggestion"), "source": "judge"}
        opinions += _opinions(item, origin, question, suggestion.get("value"), who)
    return JudgedItem(item, tuple(opinions))


def write_argilla(judged: JudgedItem) -> Iterable[Row]:
    """One record; opinions of judges and scripts are suggestions, of which there is one a
    question."""
    item = judged.item
    if len(item.answers) > 2:
        return
    responses: dict[str, list[dict[str, Any]]] = {}
    suggestions: dict[str, dict[str, Any]] = {}
    for opinion in judged.opinions:
        question, value = _response(item.answers[0].id, opinion)
        if opinion.source in ("person", "serving"):
            responses.setdefault(question, []).append({"value": value, "user_id": opinion.who})
        else:
            suggestions[question] = {"value": value, "score": None, "agent": opinion.who}
    prompt = plain_prompt(item.prompt)
    fields: dict[str, Any] = {"prompt": prompt}
    fields |= {
        name: answer.text
        for name, answer in zip(("response_a", "response_b"), item.answers, strict=False)
    }
    yield {
        "id": item.id,
        "fields": fields | ({} if item.context is None else {"context": item.context}),
        "metadata": {"batch": item.batch} if item.batch else {},
        "suggestions": suggestions,
        "responses": responses,
        "vectors": {},
    }


def _opinions(item: Any, origin: Origin, question: str, value: Any, who: Row) -> list[Opinion]:
    first = item.answers[0].id
    other = item.answers[1].id if len(item.answers) > 1 else None
    if question == "preference":
        if other is None:
            raise FeedbackError("a preference on a record with one answer")
        sides = {"a": (first, other), "b": (other, first)}
        grade, _, side = str(value).rpartition("-")
        if value in ("tie", "unsure"):
            return [origin.opinion(item, who, kind="preference", grade="unsure")]
        if not grade:  # "a" or "response_a", as plain label questions say it
            grade, side = "better", str(value)[-1:].replace("1", "a").replace("2", "b")
        if grade not in GRADES or side not in sides:
            raise FeedbackError(f"the preference is {value!r}")
        answer, worse = sides[side]
        return [
            origin.opinion(item, who, kind="preference", answer=answer, other=worse, grade=grade)
        ]
    if question in ("rating", "thumb"):
        number = {"up": 1.0, "down": 0.0}.get(value, value) if question == "thumb" else value
        try:
            number = float(number)
        except (TypeError, ValueError):
            raise FeedbackError(f"the {question} is {value!r}") from None
        return [origin.opinion(item, who, kind=question, answer=first, value=number)]
    if question == "edit" and value and value != item.answers[0].text:
        return [origin.opinion(item, who, kind="edit", answer=first, text=str(value))]
    return []


def _response(first: str, opinion: Opinion) -> tuple[str, Any]:
    if opinion.kind == "preference":
        side = "a" if opinion.answer == first else "b"
        return "preference", "unsure" if opinion.is_tie else f"{opinion.grade}-{side}"
    if opinion.kind == "thumb":
        return "thumb", "up" if opinion.value else "down"
    if opinion.kind == "rating":
        return "rating", opinion.value
    return ("edit", opinion.text) if opinion.kind == "edit" else ("comment", opinion.text)


ARGILLA = ExchangeFormat(
    "argilla", lambda row: isinstance(row.get("fields"), Mapping), read_argilla, write_argilla,
    lines=False,
)  # fmt: skip
