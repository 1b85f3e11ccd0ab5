"""Turns of a conversation as the one text that a base was trained on: its chat template, with what
templates do in ways of their own evened out.

- A system turn that the template refuses or drops (Gemma 2, older Mistral) becomes the head of the
  first user turn.
- A thought that it opens before the answer (R1, Qwen3) is closed; where it knows `enable_thinking`,
  it is told not to open one. Where the base is to think, it is told to, and a thought is opened.
- A clock that it reads (`strftime_now`) stands still, so that a run repeats.
- A template that reads content as parts only gets parts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from luthier.content import Message, ToolSignature
from luthier.engine.tool_turns import Turn, tool_objects, tool_turns
from luthier.errors import ModelError
from luthier.models.prompt import Thought
from luthier.models.tool_formats import format_of

HELD = datetime(2025, 1, 1, tzinfo=UTC)
_CLOCK = re.compile(r"""strftime_now\(\s*(["'])(.*?)\1\s*\)""")
_TOOLS = re.compile(r"\btools\b")
_TAG = re.compile(r"<(think|thinking|thought|seed:think)>")
_OPENED = re.compile(r"<(think|thinking|thought|seed:think)>\s*\Z")
CLOCK_NOTE = (
    f"The chat template tells the date; it is held at {HELD:%Y-%m-%d}, so that a run repeats."
)


@dataclass(frozen=True, eq=False)
class ChatTemplate:
    """The chat template of a tokenizer, and how it wants its turns.

    `source` is its text with the clock held still, `folds_system`: it takes no system turn,
    `wants_parts`: it reads content as parts only, `has_clock`: it tells the date, `thinks`: it has
    a mode in which the base thinks before it answers.
    """

    tokenizer: Any
    source: str
    folds_system: bool = False
    wants_parts: bool = False
    has_clock: bool = False

    @property
    def thinks(self) -> bool:
        """Whether the base was trained to think before it answers, as far as a template tells."""
        return "enable_thinking" in self.source or _TAG.search(self.source) is not None

    @property
    def call_format(self) -> str:
        """How its model writes calls of tools (`models.tool_formats`)."""
        vocabulary: dict[str, int] = getattr(self.tokenizer, "get_vocab", dict)()
        return format_of(self.source, tool_role="<|tool|>" in vocabulary)

    @property
    def shows_tools(self) -> bool:
        """Whether it lists tools, and writes their calls and results, itself."""
        return bool(_TOOLS.search(self.source)) and self.call_format not in ("plain", "json")

    def text(
        self, messages: Sequence[Message], *, tools: Sequence[ToolSignature] = (),
        plain: Callable[[str], str] = str, thought: Thought | None = None,
    ) -> str:  # fmt: skip
        """The turns as one text, up to where the answer begins, or where a thought goes on.
        `plain` turns special tokens that stand in a text into text.

        ModelError where the template cannot be used.
        """
        form = None if self.shows_tools else self.call_format
        turns = tool_turns(messages, form=form, plain=plain)
        shown = tool_objects(tools, plain=plain) if self.shows_tools and tools else None
        turns = folded(turns) if self.folds_system else turns
        text = self.render(turns, shown, thinking=thought is not None)
        opened = _OPENED.search(text)
        if thought is None:
            return text if opened is None else f"{text.rstrip()}\n\n</{opened.group(1)}>\n\n"
        named = opened or _TAG.search(self.source)
        tag = "think" if named is None else named.group(1)
        text = f"{text}<{tag}>\n" if opened is None else f"{text.rstrip()}\n"
        return f"{text}{plain(thought.text.strip())}\n</{tag}>\n\n" if thought.closed else text

    def render(
        self, turns: Sequence[Turn], tools: list[Turn] | None = None, *, thinking: bool = False
    ) -> str:
        """What the template makes of turns, and of tools where there are some; `thinking`: a
        thought may come before the answer."""
        import jinja2

        if self.wants_parts:
            turns = [{**t, "content": [{"type": "text", "text": t["content"]}]} for t in turns]
        try:
            found = self.tokenizer.apply_chat_template(
                list(turns),
                tools=tools,
                chat_template=self.source,
                tokenize=False,
                add_generation_prompt=True,
                enable_thinking=thinking,
            )
        except (jinja2.TemplateError, TypeError) as error:
            roles = ", ".join(dict.fromkeys(str(turn["role"]) for turn in turns))
            raise ModelError(
                f"the chat template of {self.tokenizer.name_or_path or 'this model'} cannot be "
                f"used for turns of {roles}: {error}",
                next_step="Mend chat_template in its tokenizer_config.json, or ask for plain text "
                "(the prompt's format style: plain).",
            ) from error
        return str(found)


def chat_template(tokenizer: Any) -> ChatTemplate | None:
    """The template of a tokenizer, None where it has none."""
    source = getattr(tokenizer, "chat_template", None)
    if isinstance(source, dict):  # several, by name
        source = source.get("default") or next(iter(source.values()), None)
    return _read(tokenizer, source) if source else None


@lru_cache(maxsize=8)
def _read(tokenizer: Any, source: str) -> ChatTemplate:
    """How a template wants its turns, found out with turns that are easy to find again."""
    held = _CLOCK.sub(lambda found: repr(HELD.strftime(found.group(2))), source)
    found = ChatTemplate(tokenizer, held, has_clock=held != source)
    user: Turn = {"role": "user", "content": "USERTURN"}
    if not _shows(found, [user], "USERTURN"):
        parts = ChatTemplate(tokenizer, held, wants_parts=True, has_clock=found.has_clock)
        found = parts if _shows(parts, [user], "USERTURN") else found
    system: Turn = {"role": "system", "content": "SYSTEMTURN"}
    folds = not _shows(found, [system, user], "SYSTEMTURN")
    return ChatTemplate(tokenizer, held, folds, found.wants_parts, found.has_clock)


def _shows(template: ChatTemplate, turns: Sequence[Turn], words: str) -> bool:
    try:
        return words in template.render(turns)
    except ModelError:
        return False


def folded(turns: Sequence[Turn]) -> list[Turn]:
    """The turns without system turns: their text stands at the head of the first user turn."""
    head = [str(turn["content"]) for turn in turns if turn["role"] == "system"]
    rest = [dict(turn) for turn in turns if turn["role"] != "system"]
    if not head:
        return rest
    first = next((turn for turn in rest if turn["role"] == "user"), None)
    if first is None:
        return [{"role": "user", "content": "\n\n".join(head)}, *rest]
    first["content"] = "\n\n".join([*head, str(first["content"])])
    return rest
