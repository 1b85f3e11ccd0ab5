"""Replies in the form of the OpenAI API: what all of them share."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

from luthier.content import Response
from luthier.errors import LuthierError
from luthier.serving.api_errors import ApiError, as_api_error
from luthier.serving.batch_worker import TokenLogprob

FINISH = {"stop": "stop", "length": "length", "tool-calls": "tool_calls", "thinking": "length",
          "filtered": "content_filter"}  # fmt: skip


def reply_head(kind: str, prefix: str, model: str) -> dict[str, Any]:
    """The fields that every reply begins with."""
    return {
        "id": f"{prefix}-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
    }


def usage_form(responses: Sequence[Response]) -> dict[str, Any]:
    """The tokens of all choices, and how many of the prompt's were read before; scored labels
    compute tokens of their own, so that nobody knows there."""
    read = max((r.usage.prompt_tokens for r in responses), default=0)
    new = sum(r.usage.generated_tokens for r in responses)
    computed = sum(r.usage.computed_tokens for r in responses)
    scored = any(r.label_probabilities is not None for r in responses)
    cached = 0 if scored else max(0, read + new - computed)
    return {
        "prompt_tokens": read,
        "completion_tokens": new,
        "total_tokens": read + new,
        "prompt_tokens_details": {"cached_tokens": min(cached, read)},
    }


def token_form(token: TokenLogprob) -> dict[str, Any]:
    """One token with its log-probability, as chats have it."""
    text, logprob, likeliest = token
    return {
        **_scored(text, logprob),
        "top_logprobs": [_scored(name, value) for name, value in likeliest.items()],
    }


def luthier_form(response: Response) -> dict[str, Any] | None:
    """What OpenAI's form has no place for: the labels' probabilities, what the model said where the
    answer is withheld, and its citations; None where there is none of it."""
    form: dict[str, Any] = {}
    if response.label_probabilities is not None:
        form["probabilities"] = response.label_probabilities
    if response.parsed is None:
        form["parsed"] = False
    if response.grounding is not None:
        form |= {
            "said": response.prediction,
            "supported": response.grounding.supported,
            "citations": [
                {"number": c.number, "source": c.source, "place": c.place, "supports": c.supports}
                for c in response.citations
            ],
        }
    return form or None


async def events(pieces: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
    """Server-sent events, the last one "[DONE]". An error under way is an event of its own."""
    try:
        async for piece in pieces:
            yield event(piece)
    except ApiError as error:
        yield event(error.body)
    except LuthierError as error:
        yield event(as_api_error(error).body)
    yield b"data: [DONE]\n\n"


def event(value: dict[str, Any]) -> bytes:
    """One event."""
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def _scored(text: str, logprob: float) -> dict[str, Any]:
    return {
        "token": text,
        "logprob": max(logprob, -9999.0),
        "bytes": list(text.encode("utf-8", "replace")),
    }
