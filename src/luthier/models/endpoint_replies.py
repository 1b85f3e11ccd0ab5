"""Chat replies as servers send them, read into one form: texts, how each ended, the tokens.

Content may be a text, null, or a list of parts; thoughts may stand in it, in parts of their own, or
in a field beside it; usage may be null or hold nulls.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, TypedDict

from luthier.content import Usage
from luthier.models.backend import Generated
from luthier.models.endpoint_calls import BadReplyError
from luthier.models.pieces import stripped, until_stop
from luthier.models.prompt import Rendered
from luthier.models.thoughts import without_thoughts
from luthier.models.tool_formats.shape import call_of

# Where servers put what a model thought (vLLM and DeepSeek, newer vLLM and OpenRouter, Ollama).
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")


MOST_TOKENS = 10**9  # of one reply: a larger number is no count


class ChatReply(TypedDict, total=False):
    """What is kept of a chat completion.

    `cut`: the server stopped the text at the limit. `thinking`: it holds thoughts and no answer.
    `first`: the likeliest first tokens of each text, where they were asked for. `thought`: the
    model thinks before it answers. `calls` are the tools that each choice calls, as the server sent
    them. `tokens_known`: the server counted the tokens.
    """

    texts: list[str]
    cut: list[bool]
    thinking: list[bool]
    first: list[list[tuple[str, float]]]
    thought: bool
    filtered: bool
    calls: list[list[dict[str, Any]]]
    tokens_known: bool
    prompt_tokens: int
    generated_tokens: int


def chat_reply(reply: dict[str, Any]) -> ChatReply:
    """A chat completion in one form. BadReplyError where it holds no choice."""
    choices = reply.get("choices")
    if not isinstance(choices, list) or not choices:
        raise BadReplyError("a reply without choices")
    texts, cut, thinking, thought, filtered = [], [], [], False, False
    first: list[list[tuple[str, float]]] = []
    calls: list[list[dict[str, Any]]] = []
    for choice in choices:
        message = choice.get("message") if isinstance(choice, dict) else None
        if not isinstance(message, dict):
            raise BadReplyError("a choice without a message")
        written = content_text(message.get("content"))
        answered = without_thoughts(written)
        aside = any(message.get(name) for name in _THOUGHTS) or _thinking_part(message)
        thought = thought or aside or answered.text != written
        texts.append(answered.text)
        first.append([] if aside or answered.text != written else first_tokens(choice))
        called = message.get("tool_calls")
        calls.append([c for c in called if isinstance(c, dict)] if isinstance(called, list) else [])
        cut.append(choice.get("finish_reason") == "length")
        filtered = filtered or choice.get("finish_reason") == "content_filter"
        thinking.append(answered.unfinished or (aside and cut[-1] and not answered.text.strip()))
    read, generated = usage_tokens(reply.get("usage"))
    return ChatReply(
        texts=texts,
        cut=cut,
        thinking=thinking,
        first=first,
        thought=thought,
        filtered=filtered,
        calls=calls,
        tokens_known=read is not None and generated is not None,
        prompt_tokens=read or 0,
        generated_tokens=generated or 0,
    )


def first_tokens(choice: dict[str, Any]) -> list[tuple[str, float]]:
    """The likeliest first tokens of a choice, with their log-probabilities; none where the server
    does not tell them, or tells what cannot be."""
    found = choice.get("logprobs")
    content = found.get("content") if isinstance(found, dict) else None
    if not isinstance(content, list) or not content or not isinstance(content[0], dict):
        return []
    tops = content[0].get("top_logprobs")
    pairs = [
        (str(top["token"]), float(top["logprob"]))
        for top in (tops if isinstance(tops, list) else ())
        if isinstance(top, dict)
        and isinstance(top.get("token"), str)
        and isinstance(top.get("logprob"), int | float)
    ]
    total = sum(math.exp(min(value, 1.0)) for _, value in pairs)
    sound = all(math.isfinite(value) and value <= 0.01 for _, value in pairs)
    return pairs if sound and total <= 1.05 else []


def completion_reply(reply: dict[str, Any]) -> ChatReply:
    """A plain completion in the form of a chat reply."""
    choices = reply.get("choices")
    if not isinstance(choices, list) or not choices:
        raise BadReplyError("a reply without choices")
    shaped = [
        {"message": {"content": c.get("text")}, "finish_reason": c.get("finish_reason")}
        for c in choices
    ]
    return chat_reply({**reply, "choices": shaped})


def usage_tokens(usage: Any) -> tuple[int | None, int | None]:
    """The tokens read and generated; None for what the server does not say."""
    if not isinstance(usage, dict):
        return None, None
    found = (usage.get("prompt_tokens"), usage.get("completion_tokens"))
    read, generated = (n if isinstance(n, int) and 0 <= n <= MOST_TOKENS else None for n in found)
    return read, generated


def content_text(content: Any) -> str:
    """The words of a content: a text, or the text parts of a list; thoughts are left out."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "".join(
        str(part.get("text") or "")
        for part in content
        if isinstance(part, dict) and part.get("type", "text") in ("text", "output_text")
    )


def _thinking_part(message: dict[str, Any]) -> bool:
    parts = message.get("content")
    return isinstance(parts, list) and any(
        isinstance(part, dict) and part.get("type") in ("thinking", "reasoning") for part in parts
    )


def samples_of(reply: ChatReply, stops: Sequence[str]) -> list[Generated]:
    """The texts of a reply, each with what it lacks, up to a stop string."""
    texts = [str(text) for text in reply["texts"]]
    cut = reply.get("cut") or [False] * len(texts)
    thinking = reply.get("thinking") or [False] * len(texts)
    first = reply.get("first") or [[] for _ in texts]
    samples = []
    calls = reply.get("calls") or [[] for _ in texts]
    rows = zip(texts, cut, thinking, first, calls, strict=True)
    for text, short, thought, tops, called in rows:
        answer = "".join(stripped(until_stop([text.strip()], stops)))
        lack: Literal["", "thinking", "filtered"] = "filtered" if reply.get("filtered") else ""
        lack = "thinking" if thought else lack
        likely = tuple((str(token), float(value)) for token, value in tops)
        wanted = tuple(call_of(call) for call in called)
        samples.append(
            Generated(answer, Usage(), short, tool_calls=wanted, lack=lack, first_tokens=likely)
        )
    return samples


def usage_of(reply: ChatReply) -> Usage:
    """The tokens of a reply, as far as the server counted them."""
    read, written = int(reply.get("prompt_tokens", 0)), int(reply.get("generated_tokens", 0))
    uncounted = 0 if reply.get("tokens_known", True) else 1
    return Usage(read, written, read + written, 1, uncounted_calls=uncounted)


def plain_turns(prompt: Rendered) -> str:
    """Messages as plain text, for /completions applies no chat template."""
    if not prompt.messages:
        return prompt.text
    turns = [f"{m.role.capitalize()}: {m.text}" for m in prompt.messages]
    return "\n\n".join([*turns, "Assistant: "])
