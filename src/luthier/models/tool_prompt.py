"""Tools in a prompt: listed by the chat template or the server, or in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from luthier.content import ToolSignature
from luthier.models.prompt import Prompt, Rendered
from luthier.models.tool_formats import call_format, listing

if TYPE_CHECKING:
    from luthier.models.model import Model


def tools_of(model: Model) -> tuple[ToolSignature, ...]:
    """What the model may call."""
    use = model.adaptation.tools
    return () if use is None else use.signatures


def reads_turns(model: Model, prompt: Prompt) -> bool:
    """Whether a question with tools goes through the chat template."""
    facts, style = model.backend.facts, prompt.format.style
    knows_calls = facts.has_chat_template and model.backend.call_format != "plain"
    return style == "chat" or (style == "auto" and (facts.prefers_chat or knows_calls))


def format_name(model: Model) -> str:
    """How the model writes calls: in its own form, or in the plain one without a template."""
    chat = reads_turns(model, model.adaptation.prompt)
    return model.backend.call_format if chat else "plain"


def with_tools_listed(model: Model, prompt: Prompt) -> Prompt:
    """The prompt with the tools in words, where neither a template nor a server shows them."""
    use, tools = model.adaptation.tools, tools_of(model)
    shown = model.backend.facts.lists_tools and reads_turns(model, prompt)
    if use is None or not use.listed or not tools or shown:
        return prompt
    words = listing(tools, call_format(format_name(model)))
    return replace(prompt, context="\n\n".join(t for t in (prompt.context, words) if t))


def with_tools(model: Model, rendered: Sequence[Rendered]) -> list[Rendered]:
    """The prompts with what may be called after them."""
    tools = tools_of(model)
    if not tools:
        return list(rendered)
    name = format_name(model)
    return [replace(one, tools=tools, call_format=name) for one in rendered]
