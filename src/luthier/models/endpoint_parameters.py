"""What a server does not take: parameters that it refused are left out of later calls, and told.

Servers differ in what they know beyond the messages. OpenAI's newest models refuse `max_tokens`
(they want `max_completion_tokens`), `temperature` and `stop`; Mistral refuses `seed`; llama.cpp and
TGI refuse `n`.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from typing import Any

# What may be left out, and what that means for the answers.
CONSEQUENCES = {
    "max_tokens": "answers may be longer than asked for",
    "max_completion_tokens": "answers may be longer than asked for",
    "temperature": "it samples as it does by default, so that a repeat may differ",
    "seed": "a repeat may differ",
    "stop": "texts are cut at the stop strings here",
    "tools": "tools are not offered",
    "n": "samples are asked for one by one",
    "response_format": "answers are not held to the schema",
    "structured_outputs": "answers are not held to the labels",
    "guided_choice": "answers are not held to the labels",
    "logprobs": "how likely labels are is not known",
    "top_logprobs": "how likely labels are is not known",
    "stream_options": "it does not count the tokens of a stream",
    "chat_template_kwargs": "thinking cannot be switched off",
    "return_tokens_as_token_ids": "tokens are told apart by their texts",
}
UNTOLD = {
    "stream_options", "chat_template_kwargs", "return_tokens_as_token_ids", "structured_outputs",
    "guided_choice", "logprobs", "top_logprobs",
}  # fmt: skip
NEW_NAMES = {"max_tokens": "max_completion_tokens"}
# A refusal of a value that is too large for this one request is no refusal of the parameter.
TOO_LARGE = re.compile(
    r"context (length|window|size)|maximum context|too large|too long|at most \d|exceed", re.I
)
# Words about `n` that do not name it.
ONE_CHOICE = re.compile(r"only one (completion )?choice|multiple (completions|choices)", re.I)


class Parameters:
    """The parameters that one server refused, and the names that it wants instead."""

    def __init__(self) -> None:
        self._dropped: set[str] = set()
        self._renamed: dict[str, str] = {}
        self._lock = threading.Lock()

    def takes(self, name: str) -> bool:
        """Whether nothing is known against a parameter."""
        return name not in self._dropped

    def adapted(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A body as this server takes it."""
        renamed = {self._renamed.get(name, name): value for name, value in body.items()}
        return {name: value for name, value in renamed.items() if name not in self._dropped}

    def drop(self, name: str) -> None:
        """Leave a parameter out from now on."""
        with self._lock:
            self._dropped.add(name)

    def learn_from(self, error: Any, sent: Mapping[str, Any]) -> bool:
        """Whether an error names a parameter of what was sent that the next call can do without."""
        if error.status_code not in (400, 422, 501):
            return False
        name = refused_parameter(error.response.text, sent)
        if name is None:
            return False
        with self._lock:
            if name in self._renamed or name in self._dropped:
                return True  # another thread learned it while this call was under way
            if name in NEW_NAMES:
                self._renamed[name] = NEW_NAMES[name]
            else:
                self._dropped.add(name)
        return True

    @property
    def notes(self) -> tuple[str, ...]:
        """What was refused and what follows from it, a sentence each."""
        names = sorted(self._dropped - UNTOLD)
        return tuple(f"The server does not take {name}: {CONSEQUENCES[name]}." for name in names)


def refused_parameter(text: str, body: Mapping[str, Any]) -> str | None:
    """The parameter of a body that an error's text refuses; None where it names none."""
    may_go = [name for name in CONSEQUENCES if name in body]
    for named in _named(_parsed(text)):
        found = [name for name in may_go if named.split(".")[0] == name]
        if found and not TOO_LARGE.search(text):
            return found[0]
    if TOO_LARGE.search(text):
        return None
    for name in sorted(may_go, key=len, reverse=True):
        quoted = rf"""['"`“‘]{name}(['"`”’]|\.)"""
        plain = rf"(?<![\w.]){name}(?![\w])"
        if re.search(quoted, text) or (len(name) > 4 and re.search(plain, text)):
            return name
    if "stop" in may_go and re.search(r"\bstop (sequences?|strings?|words?)\b", text, re.I):
        return "stop"
    if "n" in may_go and (ONE_CHOICE.search(text) or re.search(r"(?<![\w'])n (must|>|is)", text)):
        return "n"
    return None


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _named(found: Any) -> list[str]:
    """The names of parameters in the fields made for them: `param`, and the last of a `loc`."""
    names: list[str] = []
    if isinstance(found, dict):
        if isinstance(found.get("param"), str):
            names.append(found["param"])
        place = found.get("loc")
        if isinstance(place, list):
            names += [str(part) for part in place if str(part) in CONSEQUENCES]
        for value in found.values():
            names += _named(value)
    elif isinstance(found, list):
        for each in found:
            names += _named(each)
    return names
