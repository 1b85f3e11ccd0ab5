"""One input, several models side by side: streamed answers, the exact prompt, a thumb."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any, Literal

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse
from pydantic import BaseModel, Field

from luthier.content import Conversation
from luthier.errors import LuthierError
from luthier.feedback.from_serving import GivenAnswer, keep_edit, keep_thumb
from luthier.models.answering import render_for
from luthier.models.prompt import Rendered
from luthier.records import Example
from luthier.serving.api_errors import ApiError
from luthier.serving.batch_worker import JobAnswer
from luthier.serving.guard.gate import ANYONE
from luthier.serving.model_service import ServedQuestion
from luthier.studio.view import HEADERS, View

MOST_CHARACTERS = 200_000


class Asked(BaseModel):
    """What the page asks one model."""

    model: str
    text: str = Field(min_length=1, max_length=MOST_CHARACTERS)
    context: str | None = Field(default=None, max_length=MOST_CHARACTERS)


class Said(BaseModel):
    """What a person says of an answer: a thumb, or what it should have been."""

    model: str
    text: str = Field(min_length=1, max_length=MOST_CHARACTERS)
    context: str | None = None
    answer: str = Field(min_length=1, max_length=MOST_CHARACTERS)
    kind: Literal["thumb", "edit"]
    value: Literal[0, 1] | None = None
    edited: str | None = Field(default=None, max_length=MOST_CHARACTERS)


def pages(view: View) -> APIRouter:
    """Its routes."""
    router = APIRouter()

    @router.get("/playground")
    def playground(request: Request, text: str = "", model: str = "") -> HTMLResponse:
        chosen = [model] if model else [served.name for served in view.service.served.all()][:2]
        return view.page(request, "playground.html.j2", text=text, chosen=chosen)

    @router.post("/playground/ask")
    async def ask(asked: Asked) -> StreamingResponse:
        view.service.find(asked.model)
        return StreamingResponse(
            lines(view, asked), media_type="application/x-ndjson", headers=HEADERS
        )

    @router.post("/playground/prompt")
    def prompt(asked: Asked) -> JSONResponse:
        model = view.service.find(asked.model).model
        example = Example("", asked.text, "", context=asked.context or None)
        return JSONResponse({"prompt": words_of(render_for(model, [example])[0])}, headers=HEADERS)

    @router.post("/playground/opinion")
    def opinion(said: Said, request: Request) -> JSONResponse:
        served = view.service.find(said.model)
        if served.folder is None:
            raise HTTPException(
                400,
                "A base that is served alone has no run to keep opinions in: serve a run folder.",
            )
        holder = request.state.holder
        who = "playground" if holder == ANYONE else holder.name
        given = GivenAnswer(said.text, said.answer, said.model, who, said.context or None)
        store = view.desk.store(served.folder.resolve().parent)
        try:
            if said.kind == "edit":
                kept = keep_edit(store, given, text=said.edited or "")
            else:
                kept = keep_thumb(store, given, up=bool(said.value))
        except LuthierError as error:
            raise HTTPException(400, str(error)) from error
        return JSONResponse({"kept": kept}, headers=HEADERS)

    return router


async def lines(view: View, asked: Asked) -> AsyncIterator[str]:
    """The answer as it comes, an object a line: {"piece"}, at the end {"done"} or {"fault"}."""
    question = ServedQuestion(Conversation.of(asked.text), asked.context or None)
    started = time.perf_counter()
    first: float | None = None
    try:
        async for part in view.service.stream(asked.model, question):
            if isinstance(part, JobAnswer):
                yield json.dumps({"done": done(part, started, first)}) + "\n"
            else:
                first = first or time.perf_counter()
                yield json.dumps({"piece": part}) + "\n"
    except ApiError as error:
        yield json.dumps({"fault": error.message}) + "\n"
    except LuthierError as error:
        yield json.dumps({"fault": str(error)}) + "\n"


def done(answer: JobAnswer, started: float, first: float | None) -> dict[str, Any]:
    """What stands under an answer."""
    response, now = answer.response, time.perf_counter()
    chances = response.label_probabilities or {}
    likeliest = sorted(chances.items(), key=lambda pair: -pair[1])[:4]
    return {
        "answer": response.answer,
        "raw": response.text,
        "tokens": [response.usage.prompt_tokens, response.usage.generated_tokens],
        "computed": response.usage.computed_tokens,
        "seconds": round(now - started, 3),
        "first": None if first is None else round(first - started, 3),
        "labels": [[label, round(chance, 4)] for label, chance in likeliest],
        "cut": response.finish_reason == "length",
        "citations": [
            {"number": c.number, "place": c.place, "text": c.text, "supports": c.supports}
            for c in response.citations
        ],
    }


def words_of(prompt: Rendered) -> str:
    """A prompt as text: of a chat each turn under its role."""
    if not prompt.messages:
        return prompt.text
    return "\n\n".join(f"[{message.role}]\n{message.text}" for message in prompt.messages)
