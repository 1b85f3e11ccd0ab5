"""Log-probabilities of given text from a server: which tokens they are of, and whether they are.

The tokens of a continuation are those by which the prompt with it differs from the prompt alone:
offsets in characters are not read, which servers count in ways of their own (vLLM's are off where a
token is part of a character, or special). A server that does not know `echo` answers with the
log-probabilities of what it generated; it is found out by what it sends, not by the form.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypedDict

from luthier.models.endpoint_calls import BadReplyError
from luthier.models.endpoint_replies import usage_tokens

PROBE = "one two three"


class ScoredTokens(TypedDict):
    """The tokens of a text, the log-probability of each after those before it (the first has
    None), and whether it was the likeliest."""

    tokens: list[str]
    logprobs: list[float | None]
    greedy: list[bool]


def echoed(reply: dict[str, Any], text: str) -> ScoredTokens:
    """The tokens of `text` out of a completion that echoes it. BadReplyError where it does not."""
    choices = reply.get("choices") or [{}]
    found = choices[0].get("logprobs") or {}
    tokens, logprobs = found.get("tokens") or [], found.get("token_logprobs") or []
    if text.strip() not in str(choices[0].get("text") or ""):
        raise BadReplyError("the prompt was not echoed")
    read, generated = usage_tokens(reply.get("usage"))
    if generated is not None:
        count = len(tokens) - generated
    elif read is not None:
        count = read
    else:  # the one token that was asked for, where the tokens are more than the text
        count = len(tokens) - ("".join(tokens) != text)
    count = max(0, min(count, len(tokens)))
    top = found.get("top_logprobs") or []
    greedy = [_likeliest(top[i] if i < len(top) else None, tokens[i]) for i in range(count)]
    return _checked(ScoredTokens(tokens=tokens[:count], logprobs=logprobs[:count], greedy=greedy))


def prompt_tokens(reply: dict[str, Any]) -> ScoredTokens:
    """The tokens of a chat's prompt under the server's template, by their ids (vLLM's
    `prompt_logprobs`). BadReplyError where there are none."""
    found = reply.get("prompt_logprobs")
    if found is None:
        found = (reply.get("choices") or [{}])[0].get("prompt_logprobs")
    if not isinstance(found, list) or not found:
        raise BadReplyError("no log-probabilities of the prompt")
    scored = ScoredTokens(tokens=[], logprobs=[], greedy=[])
    for entry in found:
        if not isinstance(entry, dict) or not entry:
            scored["tokens"].append("")
            scored["logprobs"].append(None)
            scored["greedy"].append(False)
            continue
        token, value = next(iter(entry.items()))  # the token that stands there comes first
        scored["tokens"].append(str(token))
        scored["logprobs"].append(value.get("logprob"))
        scored["greedy"].append(value.get("rank") == 1)
    return _checked(scored)


def decoded_end(reply: dict[str, Any]) -> str:
    """The text of the last token of a chat's prompt."""
    found = reply.get("prompt_logprobs") or [None]
    entry = found[-1]
    if not isinstance(entry, dict) or not entry:
        return ""
    return str(next(iter(entry.values())).get("decoded_token") or "")


def continuation_start(head: ScoredTokens, rows: Sequence[ScoredTokens]) -> int:
    """Where continuations start: the first token by which any row differs from the prompt alone.

    A tokenizer may merge across the boundary; one place for all keeps them comparable.
    """
    return min(_common(head["tokens"], row["tokens"]) for row in rows)


def _common(first: Sequence[str], second: Sequence[str]) -> int:
    most = min(len(first), len(second) - 1)
    return next((i for i in range(most) if first[i] != second[i]), most)


def _likeliest(top: Any, token: str) -> bool:
    return bool(top) and max(top, key=lambda t: top[t]) == token


def _checked(scored: ScoredTokens) -> ScoredTokens:
    """The same; BadReplyError for log-probabilities that cannot be those of the text."""
    tokens, values = scored["tokens"], scored["logprobs"]
    known = [v for v in values[1:] if v is not None]
    if not tokens or len(values) != len(tokens) or len(known) < len(tokens) - 1:
        raise BadReplyError("not every token of the prompt has a log-probability")
    if any(not math.isfinite(v) or v > 0.01 for v in known):
        raise BadReplyError("log-probabilities that are none")
    if len(known) > 1 and not any(known):
        raise BadReplyError("log-probabilities that are all 0")
    return scored
