"""What goes into a model and what comes out of it: content in parts, turns, and a response.

A message is a text or a list of parts. Text-only code asks for `text_of(content)` and never looks
inside; code that knows pictures or tools reads the parts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

Role = Literal["system", "user", "assistant", "tool"]
# Why a text ended: by itself, at the limit, with a wish to call tools, at the limit while the model
# still thought (so that there is no answer), or withheld by a server's filter.
FinishReason = Literal["stop", "length", "tool-calls", "thinking", "filtered"]
# What an answer says, word for word, where the documents do not hold one.
ABSTENTION = "not in the documents"


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
    arguments: Mapping[str, Any] = field(hash=False)
    id: str = ""

    @property
    def text(self) -> str:
        """The call in words, for a model that reads text only: `add({"a": 1, "b": 2})`."""
        return f"{self.name}({json.dumps(dict(self.arguments), ensure_ascii=False)})"


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool returned for the call with the same `id`. `failed`: the text says why. `seconds`
    is what it took, None where it did not run."""

    id: str
    text: str
    failed: bool = False
    seconds: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class ToolSignature:
    """What a model is shown of a tool: its name, what it does, and the JSON schema of its
    arguments."""

    name: str
    description: str
    parameters: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class ToolStep:
    """A call and its result, as a demonstration shows it and a trace keeps it."""

    name: str
    arguments: Mapping[str, Any] = field(hash=False)
    result: str
    failed: bool = False
    seconds: float | None = field(default=None, compare=False)

    @property
    def call(self) -> ToolCall:
        """The call alone."""
        return ToolCall(self.name, self.arguments)


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
        """A conversation from a text, from parts, or from messages, which may be mappings with a
        `role` and a `content` that is a text or a sequence of parts.

        TypeError for anything else, ValueError for a role there is not.
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
                messages.append(_message_of(turn))
            else:
                raise TypeError(f"a turn is a Message or a mapping, not {type(turn).__name__}")
        return cls(tuple(messages))


# What an example asks: a text, parts (text and pictures), or the turns so far.
Input = str | tuple[Part, ...] | Conversation


def text_of(content: Input) -> str:
    """All text of a content, its parts or turns on lines of their own; "" where there is none.

    Pictures are left out; tool calls and their results are written in words.
    """
    if isinstance(content, str):
        return content
    if isinstance(content, Conversation):
        return "\n".join(message.text for message in content.messages)
    return "\n".join(part.text for part in content if not isinstance(part, Image))


def question_of(content: Input) -> str:
    """The text that is asked now: of a conversation its last user turn, else all of it."""
    if isinstance(content, Conversation):
        turns = (m.text for m in reversed(content.messages) if m.role == "user")
        return next(turns, "")
    return text_of(content)


def single_text(content: Input) -> str | None:
    """The text of an input that is one question in words alone; None for any other input."""
    if isinstance(content, str):
        return content
    if isinstance(content, Conversation):
        if len(content.messages) != 1 or content.messages[0].role != "user":
            return None
        return single_text(content.messages[0].content)
    if all(isinstance(part, Text) for part in content):
        return "\n".join(part.text for part in content if isinstance(part, Text))
    return None


def has_images(content: Input) -> bool:
    """Whether a content holds a picture."""
    if isinstance(content, str):
        return False
    if isinstance(content, Conversation):
        return any(has_images(message.content) for message in content.messages)
    return any(isinstance(part, Image) for part in content)


def _message_of(turn: Mapping[str, Any]) -> Message:
    role, content = turn.get("role"), turn.get("content")
    if role not in get_args(Role):
        raise ValueError(f"there is no role {role!r}: a turn is of {', '.join(get_args(Role))}")
    if not isinstance(content, str):
        parts = tuple(content) if isinstance(content, Sequence) else (content,)
        if not all(isinstance(part, Part) for part in parts):
            raise TypeError(f"the content of a turn is a text or parts, not {content!r:.80}")
        content = cast("tuple[Part, ...]", parts)
    return Message(cast(Role, role), content)


@dataclass(frozen=True, slots=True)
class Usage:
    """What answering cost in tokens.

    `computed_tokens` counts the tokens that really ran: a shared prefix counts once. `truncated`
    counts prompts that were cut to the context length (their inputs lose their middle).
    `uncounted_calls` are those whose tokens a server did not tell (they are 0 here). `thinking`
    counts answers that ended inside a thought, `filtered` those that a server withheld,
    `cut_thoughts` the thoughts that were cut at their limit and answered after all.
    """

    prompt_tokens: int = 0
    generated_tokens: int = 0
    computed_tokens: int = 0
    calls: int = 0
    truncated: int = 0
    uncounted_calls: int = 0
    thinking: int = 0
    filtered: int = 0
    cut_thoughts: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.generated_tokens + other.generated_tokens,
            self.computed_tokens + other.computed_tokens,
            self.calls + other.calls,
            self.truncated + other.truncated,
            self.uncounted_calls + other.uncounted_calls,
            self.thinking + other.thinking,
            self.filtered + other.filtered,
            self.cut_thoughts + other.cut_thoughts,
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
class Grounding:
    """How far an answer rests on the documents it was looked up in.

    `supported`: every sentence is borne out by a passage, and a passage answers the question.
    `withheld`: the answer is free text that is not supported, so it is not given.
    `unknown_citations` are cited numbers that no passage has. `search_seconds` is what the search
    took (0 where it was remembered), `read_seconds` all the rest. `relevance` is the probability
    that a cited passage answers the question, None without one. `complete` is the answer with the
    unit that the passage has, where the model left it out.
    """

    supported: bool
    withheld: bool
    unknown_citations: tuple[int, ...] = ()
    search_seconds: float = 0.0
    read_seconds: float = 0.0
    relevance: float | None = None
    complete: str | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """What a model answered.

    `text` is the raw generation. `parsed` is the prediction that was read out of it, None when it
    could not be read. `parseable` says whether unconstrained decoding would have produced a
    readable answer: where labels are scored `parsed` is always a label, and `parseable` is what the
    parse rate counts. `label_logprobs` are natural logs, one for each label, where labels were
    scored or a server told how likely they are, and `label_scores` what they became by calibration
    and length: the highest is chosen.
    `tool_calls` were asked for and not run; `turns` are the calls that were run, and their results,
    before this answer. `citations` and `grounding` are those of `Model.respond` where the model
    looks answers up in documents; `grounding` is None elsewhere.
    `stopped` says in words which limit ended the calls of tools.
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
    grounding: Grounding | None = None
    label_scores: Mapping[str, float] | None = None
    stopped: str = ""

    @property
    def label_probabilities(self) -> dict[str, float] | None:
        """The probability of each label among the labels, a softmax over what the answer was chosen
        by; None where no labels were scored."""
        scores = self.label_scores or self.label_logprobs
        if not scores:
            return None
        most = max(scores.values())
        weights = {label: math.exp(score - most) for label, score in scores.items()}
        total = sum(weights.values())
        return {label: weight / total for label, weight in weights.items()}

    @property
    def steps(self) -> tuple[ToolStep, ...]:
        """The calls that were run, each with its result."""
        parts = [
            p for turn in self.turns if not isinstance(turn.content, str) for p in turn.content
        ]
        calls = [part for part in parts if isinstance(part, ToolCall)]
        results = [part for part in parts if isinstance(part, ToolResult)]
        return tuple(
            ToolStep(call.name, call.arguments, result.text, result.failed, result.seconds)
            for call, result in zip(calls, results, strict=False)
        )

    @property
    def prediction(self) -> str:
        """The prediction; the raw text where none could be read."""
        return self.text if self.parsed is None else self.parsed

    @property
    def answer(self) -> str:
        """The prediction, with its unit where a passage has it, or "not in the documents" where no
        passage bears it out."""
        if self.grounding is None:
            return self.prediction
        if self.grounding.withheld:
            return ABSTENTION
        return self.grounding.complete or self.prediction
