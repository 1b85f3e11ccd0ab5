"""The forms of calls by name, and which one a base writes."""

from __future__ import annotations

import re

from luthier.models.tool_formats.gemma_calls import GEMMA, GEMMA_TAGS
from luthier.models.tool_formats.hermes_calls import HERMES
from luthier.models.tool_formats.llama_calls import JSON_CALLS, LLAMA
from luthier.models.tool_formats.mistral_calls import MISTRAL
from luthier.models.tool_formats.named_calls import NAMED
from luthier.models.tool_formats.shape import CallFormat, CallText

FORMATS = {f.name: f for f in (NAMED, JSON_CALLS, HERMES, LLAMA, MISTRAL, GEMMA, GEMMA_TAGS)}
__all__ = ["FORMATS", "CallFormat", "CallText", "call_format", "format_of"]


def call_format(name: str) -> CallFormat:
    """The form of a name; "api" has none of its own and is written like the plain one."""
    return FORMATS.get(name, NAMED)


def format_of(template: str | None, *, tool_role: bool = False) -> str:
    """The name of the form that a chat template teaches.

    A template that shows no tools, and none at all, has the plain form, except Gemma's, whose
    models know the form of JSON. `tool_role`: the tokenizer has a token for results, `<|tool|>`, as
    that of `nano` has.
    """
    if not template:
        return NAMED.name
    if tool_role:
        return JSON_CALLS.name
    if "<start_function_call>" in template or "<|tool_call>" in template:
        return GEMMA_TAGS.name
    if "[TOOL_CALLS]" in template:
        return MISTRAL.name
    if "<tool_call>" in template:
        return HERMES.name
    if "<|python_tag|>" in template or re.search(r'"parameters":|Environment: ipython', template):
        return LLAMA.name
    if "<start_of_turn>" in template:
        return GEMMA.name
    return NAMED.name
