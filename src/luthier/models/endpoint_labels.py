"""Labels where a server generates: answers held to them, and how likely each label is.

A server may hold a text to a list of choices (vLLM's `structured_outputs`, `guided_choice` in its
older versions), or to JSON whose one field is an enum (OpenAI, Ollama, llama.cpp, LM Studio and
others). And it may tell the likeliest first tokens of an answer with their log-probabilities. All
of it is found out by answers: most servers pass over what they do not know.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from luthier.errors import BackendError
from luthier.models.endpoint_calls import NOT_THE_API, Caller
from luthier.models.endpoint_replies import ChatReply, chat_reply

FIELD = "answer"
# Words that no model would answer a greeting with.
CHOICES = ("zebra seventeen", "walrus nine")
WAYS = ("structured_outputs", "guided_choice", "response_format")
MOST_ALTERNATIVES = 20  # OpenAI's limit; some servers have a lower one
FEWER_ALTERNATIVES = 5
JSON_TOKENS = 16  # that a JSON object takes around its one label


@dataclass(frozen=True, slots=True)
class LabelMeans:
    """What a server does for labels.

    `holding` names the parameter that holds an answer to a list, "" where there is none.
    `alternatives` is how many likely first tokens it tells with their log-probabilities.
    """

    holding: str = ""
    alternatives: int = 0

    @property
    def note(self) -> tuple[str, ...]:
        """What a user should know: a parse rate is no measurement where answers are held."""
        if not self.holding:
            return ()
        how = "JSON with an enum" if self.holding == "response_format" else self.holding
        return (f"The server held answers to the labels ({how}), so that all can be read.",)

    def parameters(self, labels: Sequence[str]) -> dict[str, Any]:
        """What to add to a chat's body."""
        body = _holding(self.holding, labels)
        if self.alternatives:
            body |= {"logprobs": True, "top_logprobs": self.alternatives}
        return body


def label_means(caller: Caller, model: str, *, off: bool) -> LabelMeans:
    """Ask a server what it can do for labels. `off`: thinking is switched off with every chat."""
    more: dict[str, Any] = {"chat_template_kwargs": {"enable_thinking": False}} if off else {}
    alternatives = 0
    for way in WAYS:
        asked = {} if alternatives else {"logprobs": True, "top_logprobs": MOST_ALTERNATIVES}
        found = _asked(caller, model, {**_holding(way, CHOICES), **asked, **more})
        if found is None and asked:
            fewer = {"logprobs": True, "top_logprobs": FEWER_ALTERNATIVES}
            found = _asked(caller, model, {**_holding(way, CHOICES), **fewer, **more})
        if found is None:
            continue
        alternatives = alternatives or len((found.get("first") or [[]])[0])
        said = found["texts"][0].strip()
        if caller.parameters.takes(way) and held_answer(said) in CHOICES:
            useless = way == "response_format"  # the first token is a brace
            return LabelMeans(way, 0 if useless else alternatives)
    return LabelMeans("", alternatives)


def held_answer(text: str) -> str:
    """The label in an answer that was held to JSON; any other text as it is."""
    if not text.lstrip().startswith("{"):
        return text
    try:
        found = json.loads(text)
    except ValueError:
        return text
    answer = found.get(FIELD) if isinstance(found, dict) else None
    return answer if isinstance(answer, str) else text


def _holding(way: str, labels: Sequence[str]) -> dict[str, Any]:
    if way == "structured_outputs":
        return {way: {"choice": list(labels)}}
    if way == "guided_choice":
        return {way: list(labels)}
    if way == "response_format":
        field = {"type": "string", "enum": list(labels)}
        schema = {"type": "object", "properties": {FIELD: field}, "required": [FIELD],
                  "additionalProperties": False}  # fmt: skip
        named = {"name": FIELD, "strict": True, "schema": schema}
        return {way: {"type": "json_schema", "json_schema": named}}
    return {}


def _asked(caller: Caller, model: str, more: dict[str, Any]) -> ChatReply | None:
    """The answer to a greeting, None where the server refuses what goes with it."""
    import openai

    messages = [{"role": "user", "content": "Hello"}]
    body = {"model": model, "messages": messages, "max_tokens": 32, "temperature": 0.0, **more}
    try:
        return caller.post("/chat/completions", body, chat_reply)
    except (openai.APIError, BackendError, *NOT_THE_API):
        return None
