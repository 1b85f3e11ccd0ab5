"""What goes into a model and what comes out of it: content in parts, turns, and a response.

A message is a text or a list of parts. Text-only code asks for `text_of(content)` and never looks
inside; code that knows pictures or tools reads the parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

Role = Literal["system", "user", "assistant", "tool"]
FinishReason = Literal["stop", "length", "tool-calls"]


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of text."""

    text: str


@dataclass(frozen=True, slots=True)
class Image:
    """A picture: its bytes with their media type ("image/png"), or the path of a local file."""

    data: bytes | None = None
    path: str | None = None
    media_type: str = "image/png"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A model's wish to call a tool. `arguments` is a JSON object; `id` joins it to its result."""

    name: str
    arguments: Mapping[str, Any]
    id: str = ""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool returned for the call with the same `id`. `failed`: the text says why."""

    id: str
    text: str
    failed: bool = False


Part = Text | Image | ToolCall | ToolResult
Content = str | tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: Content

    @property
    def text(self) -> str:
        """The text of the turn, its other parts left out."""
        return text_of(self.content)


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns in order. The model answers the last one."""

    messages: tuple[Message, ...]

    @classmethod
    def of(cls, turns: Input | Sequence[Message | Mapping[str, Any]]) -> Conversation:
        """A conversation from a text, from parts, or from messages (also as `{"role", "content"}`
        mappings, the form of the OpenAI API).

        TypeError for anything else.
        """
        if isinstance(turns, Conversation):
            return turns
        if isinstance(turns, str):
            return cls((Message("user", turns),))
        parts = tuple(turns)
        if parts and all(isinstance(part, Part) for part in parts):
            return cls((Message("user", cast("tuple[Part, ...]", parts)),))
        messages = []
        for turn in parts:
            if isinstance(turn, Message):
                messages.append(turn)
            elif isinstance(turn, Mapping):
                messages.append(Message(turn["role"], turn["content"]))
            else:
                raise TypeError(f"a turn is a Message or a mapping, not {type(turn).__name__}")
        return cls(tuple(messages))


# What an example asks: a text, parts (text and pictures), or the turns so far.
Input = str | tuple[Part, ...] | Conversation


def text_of(content: Input) -> str:
    """All text of a content, its parts or turns on lines of their own; "" where there is none."""
    if isinstance(content, str):
        return content
    if isinstance(content, Conversation):
        return "\n".join(message.text for message in content.messages)
    return "\n".join(part.text for part in content if isinstance(part, Text | ToolResult))


@dataclass(frozen=True, slots=True)
class Usage:
    """What answering cost in tokens.

    `computed_tokens` counts the tokens that really ran: a shared prefix counts once. `truncated`
    counts prompts that were cut to the context length (they lose their beginning after the first
    token).
    """

    prompt_tokens: int = 0
    generated_tokens: int = 0
    computed_tokens: int = 0
    calls: int = 0
    truncated: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.generated_tokens + other.generated_tokens,
            self.computed_tokens + other.computed_tokens,
            self.calls + other.calls,
            self.truncated + other.truncated,
        )


@dataclass(frozen=True, slots=True)
class Citation:
    """A passage that an answer rests on.

    `number` is the passage's rank in the search, `text` its text. `start` and `end` are character
    positions in the document `source`: the span that holds the answer where there is one, else the
    whole passage. `supports`: the passage bears the answer out. `explicit`: the model wrote the
    number itself.
    """

    number: int
    source: str
    start: int
    end: int
    text: str
    page: int | None = None
    supports: bool = False
    explicit: bool = False

    @property
    def place(self) -> str:
        """Where it stands: "handbook.pdf, page 3, characters 120–480"."""
        page = "" if self.page is None else f", page {self.page}"
        return f"{self.source}{page}, characters {self.start}–{self.end}"


@dataclass(frozen=True, slots=True)
class Response:
    """What a model answered.

    `text` is the raw generation. `parsed` is the prediction that was read out of it, None when it
    could not be read. `parseable` says whether unconstrained decoding would have produced a
    readable answer: where labels are scored `parsed` is always a label, and `parseable` is what the
    parse rate counts. `label_logprobs` are natural logs, one for each label, where labels were
    scored. `turns` are the tool calls and results of the turn loop before the final answer.
    """

    text: str
    parsed: str | None
    parseable: bool
    label_logprobs: Mapping[str, float] | None = None
    usage: Usage = field(default_factory=Usage)
    finish_reason: FinishReason = "stop"
    tool_calls: tuple[ToolCall, ...] = ()
    citations: tuple[Citation, ...] = ()
    turns: tuple[Message, ...] = ()

    @property
    def answer(self) -> str:
        """The prediction; the raw text where none could be read."""
        return self.text if self.parsed is None else self.parsed
