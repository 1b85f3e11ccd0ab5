"""POST /v1/chat/completions."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.responses import Response as HttpResponse

from luthier.content import Conversation, Message, Role
from luthier.serving.api_errors import ApiError
from luthier.serving.batch_worker import JobAnswer
from luthier.serving.disconnects import while_connected
from luthier.serving.model_service import DecodingChanges, ModelService, ServedQuestion
from luthier.serving.reply_forms import (
    FINISH,
    events,
    luthier_form,
    reply_head,
    token_form,
    usage_form,
)
from luthier.serving.request_bodies import ChatBody, ChatMessage, GenerationBody, ResponseFormat
from luthier.serving.watch.watched_request import watched

router = APIRouter(prefix="/v1", tags=["chat"])


@router.post("/chat/completions", response_model=None)
async def chat_completions(body: ChatBody, request: Request) -> HttpResponse:
    """Answer the last turn of a conversation."""
    service: ModelService = request.app.state.service
    question = ServedQuestion(
        conversation_of(body.messages),
        body.context,
        changes=changes_of(body, body.max_completion_tokens, body.response_format),
        seed=body.seed or 0,
        samples=body.n or 1,
        top_logprobs=(body.top_logprobs or 0) if body.logprobs else None,
    )
    if body.top_logprobs is not None and not body.logprobs:
        raise ApiError(400, "top_logprobs needs logprobs: true.", param="top_logprobs")
    if body.tools:
        raise ApiError(400, "Tools are not served.", param="tools", code="unsupported")
    request.state.model = body.model
    if body.stream:
        if question.samples > 1:
            raise ApiError(400, "A stream has one choice: leave n at 1.", param="n")
        service.find(body.model)
        pieces = chat_pieces(service, body, question, request)
        return StreamingResponse(events(pieces), media_type="text/event-stream")
    with watched(request, "chat", body) as report:
        answers = await while_connected(request, service.respond(body.model, question))
        report([answer.response for answer in answers])
    choices = [choice_form(i, a, logprobs=bool(body.logprobs)) for i, a in enumerate(answers)]
    head = reply_head("chat.completion", "chatcmpl", body.model)
    usage = usage_form([answer.response for answer in answers])
    return JSONResponse({**head, "choices": choices, "usage": usage})


async def chat_pieces(
    service: ModelService, body: ChatBody, question: ServedQuestion, request: Request
) -> AsyncIterator[dict[str, Any]]:
    """The pieces of a streamed answer: its role, its text, how it ended, its tokens."""
    head = reply_head("chat.completion.chunk", "chatcmpl", body.model)

    def piece(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish, **more}
        return {**head, "choices": [choice]}

    yield piece({"role": "assistant", "content": ""})
    with watched(request, "chat", body) as report:
        async with aclosing(service.stream(body.model, question)) as parts:
            async for part in parts:
                if isinstance(part, str):
                    report.first_piece()
                    yield piece({"content": part})
                    continue
                report([part.response])
                choice = choice_form(0, part, logprobs=bool(body.logprobs))
                more = {"logprobs": choice["logprobs"]}
                if "luthier" in choice:
                    more["luthier"] = choice["luthier"]
                yield piece({}, FINISH[part.response.finish_reason], **more)
                if body.stream_options and body.stream_options.include_usage:
                    yield {**head, "choices": [], "usage": usage_form([part.response])}


def conversation_of(messages: Sequence[ChatMessage]) -> Conversation:
    """The turns of a body. ApiError for a part that no served model reads."""
    turns = []
    for place, message in enumerate(messages):
        role: Role = "system" if message.role == "developer" else message.role
        text = message.content or ""
        if not isinstance(text, str):
            if any(part.type != "text" for part in text):
                raise ApiError(
                    400, "Pictures are not read here: give the text only.",
                    param=f"messages[{place}].content", code="unsupported",
                )  # fmt: skip
            text = "\n".join(part.text or "" for part in text)
        turns.append(Message(role, text))
    return Conversation(tuple(turns))


def changes_of(
    body: GenerationBody, max_tokens: int | None = None, form: ResponseFormat | None = None
) -> DecodingChanges:
    """What a body sets of the decoding."""
    stop = (body.stop,) if isinstance(body.stop, str) else body.stop
    schema = None
    if form is not None and form.type == "json_object":
        schema = json.dumps({"type": "object"})
    elif form is not None and form.type == "json_schema":
        if form.json_schema is None or form.json_schema.json_schema is None:
            raise ApiError(400, "Give the schema.", param="response_format.json_schema")
        schema = json.dumps(form.json_schema.json_schema)
    return DecodingChanges(
        max_new_tokens=max_tokens or body.max_tokens,
        temperature=body.temperature,
        stop=None if stop is None else tuple(s for s in stop if s),
        json_schema=schema,
    )


def choice_form(index: int, answer: JobAnswer, *, logprobs: bool = False) -> dict[str, Any]:
    """One choice. `luthier` holds the label probabilities and the citations of an answer."""
    response = answer.response
    tokens = [token_form(token) for token in answer.logprobs]
    chances = response.label_probabilities
    if chances is not None:
        tokens = [token_form(label_token(response.answer, chances))]
    own = luthier_form(response)
    return {
        "index": index,
        "message": {"role": "assistant", "content": response.answer, "refusal": None},
        "logprobs": {"content": tokens, "refusal": None} if logprobs and tokens else None,
        "finish_reason": FINISH[response.finish_reason],
        **({"luthier": own} if own else {}),
    }


def label_token(label: str, chances: dict[str, float]) -> tuple[str, float, dict[str, float]]:
    """A label as one token, with the log-probabilities of all labels."""
    import math

    logs = {name: math.log(max(chance, 1e-300)) for name, chance in chances.items()}
    ranked = dict(sorted(logs.items(), key=lambda item: -item[1]))
    return label, logs[label], ranked
