"""Dialogues in a cell: messages in the forms of OpenAI, ShareGPT and Gemini, as text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ROLE_KEYS = ("role", "from", "speaker", "author", "sender")
CONTENT_KEYS = ("content", "value", "text", "message", "parts", "utterance")
LIST_KEYS = ("messages", "conversations", "conversation", "dialogue", "turns")
# The keys of the two common forms; a list under any other key may be data and no dialogue.
PLAIN_KEYS = (("role", "from"), ("content", "value", "parts"))
ROLES = {
    "user": "User",
    "assistant": "Assistant",
    "system": "System",
    "tool": "Tool",
    "human": "User",
    "prompter": "User",
    "gpt": "Assistant",
    "chatgpt": "Assistant",
    "bot": "Assistant",
    "model": "Assistant",
    "ai": "Assistant",
    "function": "Tool",
    "observation": "Tool",
}
ANSWERER = "Assistant"


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side said; `role` as it is shown: "User", "Assistant", "System", or a name."""

    role: str
    text: str

    @property
    def line(self) -> str:
        """The turn as one line of a prompt, or several."""
        return f"{self.role}: {self.text}"


def turns_of(value: Any, *, plain: bool = False) -> list[Turn] | None:
    """The turns of a dialogue, None for anything else.

    A dialogue is a list of messages, such a list under a key of an object, or one of the two
    written as JSON; with `plain` a list of messages of the two common forms only, since a target
    may be JSON that merely looks like a dialogue.
    """
    if isinstance(value, str):
        value = None if plain else _parsed(value)
    if isinstance(value, Mapping) and not plain:
        lists = [value[key] for key in LIST_KEYS if key in value]
        value = lists[0] if len(lists) == 1 else None
    if hasattr(value, "tolist"):
        value = value.tolist()
    if not isinstance(value, Sequence) or isinstance(value, str | bytes) or not value:
        return None
    roles, contents = PLAIN_KEYS if plain else (ROLE_KEYS, CONTENT_KEYS)
    turns = [_turn(message, roles, contents) for message in value]
    return [t for t in turns if t is not None] if all(t is not None for t in turns) else None


def dialogue_text(value: Any, *, plain: bool = False) -> str | None:
    """The lines of a dialogue, None for anything else; `plain` as in `turns_of`."""
    turns = turns_of(value, plain=plain)
    return "\n".join(turn.line for turn in turns) if turns else None


def question_and_answer(value: Any) -> tuple[str, str] | None:
    """A dialogue up to its last answer, and that answer. None where it has none."""
    turns = turns_of(value) or []
    while turns and turns[-1].role != ANSWERER:
        turns.pop()
    if len(turns) < 2:
        return None
    return "\n".join(turn.line for turn in turns[:-1]), turns[-1].text


def without_answer(value: Any, answer: str) -> str | None:
    """The lines of a dialogue less its last turn, where that is the answer, word for word; None
    where it is not."""
    turns = turns_of(value) or []
    if len(turns) < 2 or turns[-1].role != ANSWERER:
        return None
    if " ".join(turns[-1].text.split()) != " ".join(answer.split()):
        return None
    return "\n".join(turn.line for turn in turns[:-1])


def _turn(message: Any, roles: Sequence[str], contents: Sequence[str]) -> Turn | None:
    if not isinstance(message, Mapping):
        return None
    role = next((message[k] for k in roles if isinstance(message.get(k), str)), None)
    if role is None:
        return None
    keys = [k for k in contents if k in message]
    calls = message.get("tool_calls") or message.get("function_call")
    if not keys and not calls:
        return None
    parts = [_content(message[keys[0]]) if keys else "", *_calls(calls)]
    if any(part is None for part in parts):
        return None
    role = role.strip()
    return Turn(
        ROLES.get(role.lower(), role[:1].upper() + role[1:]),
        "\n".join(part for part in parts if part),
    )


def _content(content: Any) -> str | None:
    """A text, or the texts of its parts; what is no text is named in brackets."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, Mapping):
        content = [content]
    if hasattr(content, "tolist"):
        content = content.tolist()
    if not isinstance(content, Sequence):
        return None
    texts = []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, Mapping) and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif isinstance(part, Mapping) and isinstance(part.get("type"), str):
            texts.append(f"[{part['type'].removesuffix('_url').removeprefix('input_')}]")
        else:
            return None
    return "\n".join(texts)


def _calls(calls: Any) -> list[str]:
    """Tool calls in words: `add({"a": 1})`."""
    if not calls:
        return []
    texts = []
    for call in [calls] if isinstance(calls, Mapping) else calls:
        inner = call.get("function", call) if isinstance(call, Mapping) else {}
        arguments = inner.get("arguments", {}) if isinstance(inner, Mapping) else {}
        if not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False, default=str)
        if isinstance(inner, Mapping) and inner.get("name"):
            texts.append(f"{inner['name']}({arguments})")
    return texts


def _parsed(text: str) -> Any:
    start = text.lstrip()[:2]
    if start[:1] not in ("[", "{") or not any(f'"{key}"' in text for key in ROLE_KEYS):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
