"""Calls that ran into the limit of new tokens: they are asked for again, with short arguments."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from luthier.content import Response
from luthier.models.backend import GenerateRequest
from luthier.models.parsing import read_response
from luthier.models.tool_formats import call_format
from luthier.models.tool_formats.bounded_schema import bounded
from luthier.models.tool_formats.shape import UNREADABLE

if TYPE_CHECKING:
    from luthier.models.model import Model


def without_cut_calls(
    model: Model, requests: Sequence[GenerateRequest], responses: Sequence[Response]
) -> list[Response]:
    """The responses, calls that were cut off replaced by whole ones under `bounded` schemas.

    Of several calls side by side those that are whole then stay, and a last one without its end
    goes: the model may ask again when it has seen the results. The usage of such a response is that
    of both attempts. A server holds calls to no grammar: there they stay as they are.
    """
    found = list(responses)
    if model.backend.facts.remote:
        return found
    cut = [i for i, one in enumerate(responses) if is_cut_call(requests[i], one)]
    again = [_shorter(requests[i]) for i in cut]
    generated = model.backend.generate(again, model.adaptation) if again else []
    for i, request, one in zip(cut, again, generated, strict=True):
        new = _whole_calls(read_response(model, one))
        if not is_cut_call(request, new):
            found[i] = replace(new, usage=responses[i].usage + new.usage)
    return found


def is_cut_call(request: GenerateRequest, response: Response) -> bool:
    """Whether a response is a call without its end: it cannot be read, or only begins as one."""
    tools = request.prompt.tools
    if any(call.name == UNREADABLE for call in response.tool_calls):
        return bool(tools)
    if not tools or response.finish_reason != "length":
        return False
    marker = call_format(request.prompt.call_format).marker(tools)
    return re.match(rf"\s*(?:{marker})", response.text) is not None


def _shorter(request: GenerateRequest) -> GenerateRequest:
    """The request with tools whose arguments end soon."""
    tools = tuple(map(bounded, request.prompt.tools))
    return replace(request, prompt=replace(request.prompt, tools=tools), samples=1)


def _whole_calls(response: Response) -> Response:
    """The response without a cut call behind whole ones."""
    whole = tuple(call for call in response.tool_calls if call.name != UNREADABLE)
    return replace(response, tool_calls=whole) if whole else response
