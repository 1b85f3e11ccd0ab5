"""POST /v1/completions: a text goes on as it is, under the adapter, without the model's prompt.

With `echo` the prompt's own tokens are told with their log-probabilities, which is how evaluation
harnesses score through a server.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response as HttpResponse
from fastapi.responses import StreamingResponse

from luthier.models.backend import TokenLogprobs
from luthier.records import Capability
from luthier.serving.api_errors import ApiError
from luthier.serving.batch_worker import JobAnswer
from luthier.serving.disconnects import while_connected
from luthier.serving.model_service import ModelService, ServedQuestion
from luthier.serving.reply_forms import FINISH, events, reply_head, usage_form
from luthier.serving.request_bodies import CompletionBody
from luthier.serving.routes.chat_completions import changes_of
from luthier.serving.watch.watched_request import watched

router = APIRouter(prefix="/v1", tags=["completions"])
Logprobs = dict[str, list[Any]]


@router.post("/completions", response_model=None)
async def completions(body: CompletionBody, request: Request) -> dict[str, Any] | HttpResponse:
    """Go on with each prompt."""
    service: ModelService = request.app.state.service
    request.state.model = body.model
    prompts = texts_of(service, body.model, body.prompt)
    if body.stream:
        if len(prompts) > 1 or (body.n or 1) > 1 or body.echo:
            raise ApiError(400, "A stream has one prompt, one choice and no echo.", param="stream")
        pieces = completion_pieces(service, body, prompts[0])
        return StreamingResponse(events(pieces), media_type="text/event-stream")
    work = asyncio.gather(*(completed(service, body, prompt) for prompt in prompts))
    with watched(request, "text_completion", body) as report:
        groups = await while_connected(request, _all(work))
        report([answer.response for _, _, answers in groups for answer in answers])
    choices = [choice for group, _, _ in groups for choice in group]
    for index, choice in enumerate(choices):
        choice["index"] = index
    return {
        **reply_head("text_completion", "cmpl", body.model),
        "choices": choices,
        "usage": {
            key: sum(usage[key] for _, usage, _ in groups)
            for key in ("prompt_tokens", "completion_tokens", "total_tokens")
        },
    }


async def _all(work: Any) -> Any:
    return await work


async def completed(
    service: ModelService, body: CompletionBody, prompt: str
) -> tuple[list[dict[str, Any]], dict[str, Any], list[JobAnswer]]:
    """The choices for one prompt, their usage, and what was generated."""
    echoed: TokenLogprobs | None = None
    if body.echo and body.logprobs is not None:
        echoed = await token_logprobs(service, body.model, prompt)
    answers: list[JobAnswer] = []
    if body.max_tokens != 0:
        answers = list(await service.respond(body.model, question_of(body, prompt)))
    usage = usage_form([answer.response for answer in answers])
    if echoed is not None:
        usage["prompt_tokens"] = len(echoed.tokens)
    elif not answers:
        usage["prompt_tokens"] = service.find(body.model).model.backend.count_tokens(prompt)
    usage["total_tokens"] = usage["prompt_tokens"] + usage["completion_tokens"]
    choices = []
    scored_only: list[JobAnswer | None] = [None]
    for answer in answers or scored_only:
        form: Logprobs | None = None
        if body.logprobs is not None:
            form = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
            if echoed is not None:
                add_echoed(form, echoed, by_id=bool(body.return_tokens_as_token_ids))
            if answer is not None:
                add_generated(form, answer, start=len(prompt) if body.echo else 0)
        choices.append(
            {
                "index": 0,
                "text": (prompt if body.echo else "") + (answer.response.text if answer else ""),
                "logprobs": form,
                "finish_reason": FINISH[answer.response.finish_reason] if answer else "length",
            }
        )
    return choices, usage, answers


def question_of(body: CompletionBody, prompt: str) -> ServedQuestion:
    """A prompt with what the body sets."""
    return ServedQuestion(
        text=prompt,
        changes=changes_of(body),
        seed=body.seed or 0,
        samples=body.n or 1,
        top_logprobs=body.logprobs,
    )


async def completion_pieces(
    service: ModelService, body: CompletionBody, prompt: str
) -> AsyncIterator[dict[str, Any]]:
    """The pieces of a streamed completion."""
    head = reply_head("text_completion", "cmpl", body.model)
    async with aclosing(service.stream(body.model, question_of(body, prompt))) as parts:
        async for part in parts:
            text = part if isinstance(part, str) else ""
            ended = None if isinstance(part, str) else FINISH[part.response.finish_reason]
            choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": ended}
            yield {**head, "choices": [choice]}


def texts_of(service: ModelService, name: str, prompt: Any) -> list[str]:
    """The prompts of a body as texts."""
    if isinstance(prompt, str):
        return [prompt]
    if not prompt:
        raise ApiError(400, "There is no prompt.", param="prompt")
    backend = service.find(name).model.backend
    if isinstance(prompt[0], int):
        return [token_text(backend, prompt)]
    return [p if isinstance(p, str) else token_text(backend, p) for p in prompt]


def token_text(backend: Any, ids: list[int]) -> str:
    """The text of token numbers. ApiError for one that is in no vocabulary."""
    most = backend.facts.vocabulary
    if most is not None and any(i >= most for i in ids):
        raise ApiError(400, f"Token {max(ids)} is not in the vocabulary of {most}.", param="prompt")
    text: str = backend.token_text(ids)
    return text


async def token_logprobs(service: ModelService, name: str, text: str) -> TokenLogprobs:
    """The log-probability of every token of a text under a model's adapter."""
    model = service.find(name).model
    if Capability.LOGPROBS not in model.capabilities:
        raise ApiError(400, "This model gives no log-probabilities.", param="logprobs")
    if not text:
        return TokenLogprobs((), ())
    work = asyncio.to_thread(model.backend.text_logprobs, [text], model.adaptation)
    return (await work)[0]


def add_echoed(form: Logprobs, echoed: TokenLogprobs, *, by_id: bool) -> None:
    """Put the tokens of a prompt into a form."""
    offset = 0
    likeliest = echoed.likeliest or (None,) * len(echoed.tokens)
    for place, (text, value) in enumerate(zip(echoed.tokens, echoed.logprobs, strict=True)):
        best = likeliest[place]
        name = f"token_id:{echoed.ids[place]}" if by_id and echoed.ids else text
        top: dict[str, float] | None = None
        if value is not None:
            top = {name: value}
            if best is not None:
                best_name = f"token_id:{best[0]}" if by_id else best[1]
                top = {best_name: best[2], **({} if best_name == name else top)}
        form["tokens"].append(name)
        form["token_logprobs"].append(value)
        form["top_logprobs"].append(top)
        form["text_offset"].append(offset)
        offset += len(text)


def add_generated(form: Logprobs, answer: JobAnswer, *, start: int) -> None:
    """Put generated tokens into a form."""
    for text, value, likeliest in answer.logprobs:
        form["tokens"].append(text)
        form["token_logprobs"].append(value)
        form["top_logprobs"].append(likeliest or {text: value})
        form["text_offset"].append(start)
        start += len(text)
