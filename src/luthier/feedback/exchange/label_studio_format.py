"""Label Studio's tasks: `data`, and annotations that are lists of results.

`<Pairwise name="preference" toName="answer1,answer2"/>` says which side, the choice `grade` how
much better it is; `<Rating name="rating" toName="answer1"/>` and `<Choices name="thumb">` speak of
one answer, `<TextArea name="edit">` says what it should have been.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from luthier.errors import FeedbackError
from luthier.feedback.exchange.conversation_turns import answer_text, plain_prompt, turns_of
from luthier.feedback.exchange.judged import ExchangeFormat, JudgedItem, Origin, Row
from luthier.ledger.opinions import GRADES, Opinion, make_item


def read_label_studio(row: Row, origin: Origin) -> JudgedItem:
    """A task with its annotations; cancelled ones are left out, predictions are a judge's."""
    data = row["data"]
    if not isinstance(data, Mapping) or "prompt" not in data:
        raise FeedbackError("the task needs `data` with a 'prompt' and 'answer1'")
    answers = [answer_text(data[n], name=n) for n in ("answer1", "answer2") if n in data]
    item = make_item(
        turns_of(data["prompt"], name="prompt"), answers, context=data.get("context"),
        batch=origin.batch,
    )  # fmt: skip
    opinions = []
    for annotation in row.get("annotations") or ():
        if annotation.get("was_cancelled"):
            continue
        person = {"who": _person(annotation.get("completed_by")) or origin.who}
        opinions += _opinions(item, origin, annotation.get("result") or (), person)
    for prediction in row.get("predictions") or ():
        who = {"who": str(prediction.get("model_version") or "prediction"), "source": "judge"}
        opinions += _opinions(item, origin, prediction.get("result") or (), who)
    return JudgedItem(item, tuple(opinions))


def write_label_studio(judged: JudgedItem) -> Iterable[Row]:
    """One task; opinions of judges and scripts are predictions."""
    item = judged.item
    if len(item.answers) > 2:
        return
    annotations, predictions = [], []
    for opinion in judged.opinions:
        result = _result(item.answers[0].id, opinion)
        if not result:
            continue
        if opinion.source in ("person", "serving"):
            annotations.append({"completed_by": {"email": opinion.who}, "result": result})
        else:
            predictions.append({"model_version": opinion.who, "result": result})
    data: dict[str, Any] = {"prompt": plain_prompt(item.prompt)}
    data |= {f"answer{i}": answer.text for i, answer in enumerate(item.answers, 1)}
    yield {
        "data": data | ({} if item.context is None else {"context": item.context}),
        "meta": {"item": item.id, "batch": item.batch},
        "annotations": annotations,
        "predictions": predictions,
    }


def _person(value: Any) -> str:
    if isinstance(value, Mapping):
        value = value.get("email") or value.get("id")
    return "" if value is None else str(value)


def _opinions(item: Any, origin: Origin, results: Iterable[Row], who: Row) -> list[Opinion]:
    said: dict[str, Any] = {}
    for result in results:
        value = result.get("value") or {}
        found = next(
            (value[k] for k in ("selected", "rating", "choices", "text") if k in value), None
        )
        name = "preference" if result.get("type") == "pairwise" else str(result.get("from_name"))
        said[name] = found[0] if isinstance(found, list) and found else found
    first = item.answers[0].id
    made = []
    if said.get("preference") in ("left", "right") or said.get("grade") == "unsure":
        if len(item.answers) < 2:
            raise FeedbackError("a preference on a task with one answer")
        grade = said.get("grade", "better")
        if grade not in GRADES:
            raise FeedbackError(f"the grade is {grade!r}, and grades are {', '.join(GRADES)}")
        pair = [a.id for a in item.answers[:2]]
        answer, other = reversed(pair) if said.get("preference") == "right" else pair
        sides = {} if grade == "unsure" else {"answer": answer, "other": other}
        made.append(origin.opinion(item, who, kind="preference", grade=grade, **sides))
    if said.get("rating") is not None:
        made.append(
            origin.opinion(item, who, kind="rating", answer=first, value=float(said["rating"]))
        )
    if said.get("thumb") in ("up", "down"):
        value = float(said["thumb"] == "up")
        made.append(origin.opinion(item, who, kind="thumb", answer=first, value=value))
    if said.get("edit"):
        made.append(origin.opinion(item, who, kind="edit", answer=first, text=str(said["edit"])))
    return made


def _result(first: str, opinion: Opinion) -> list[dict[str, Any]]:
    def part(name: str, type_: str, value: Any) -> dict[str, Any]:
        return {"from_name": name, "to_name": "answer1", "type": type_, "value": value}

    if opinion.kind == "preference":
        grade = part(
            "grade", "choices", {"choices": ["unsure" if opinion.is_tie else opinion.grade]}
        )
        if opinion.is_tie:
            return [grade]
        side = "left" if opinion.answer == first else "right"
        return [part("preference", "pairwise", {"selected": side}), grade]
    if opinion.answer != first:
        return []
    if opinion.kind == "rating":
        return [part("rating", "rating", {"rating": opinion.value})]
    if opinion.kind == "thumb":
        return [part("thumb", "choices", {"choices": ["up" if opinion.value else "down"]})]
    if opinion.kind == "edit":
        return [part("edit", "textarea", {"text": [opinion.text]})]
    return []


LABEL_STUDIO = ExchangeFormat(
    "label-studio", lambda row: isinstance(row.get("data"), Mapping), read_label_studio,
    write_label_studio, lines=False,
)  # fmt: skip
