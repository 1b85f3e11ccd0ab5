"""Thoughts in a generated text: what stands between <think> and </think> is no part of an answer.

Chat templates of reasoning models open the thought themselves, so that a text may begin inside one
and hold the closing tag alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

# Names that models give the tag (Qwen3, R1, QwQ; Granite and Magistral; Seed).
_TAGS = r"think|thinking|thought|THINK|seed:think"
CLOSING_TAGS = tuple(f"</{tag}>" for tag in _TAGS.split("|"))
_BEGUN = re.compile(rf"\A\s*<({_TAGS})>")
_ENDED = re.compile(rf"</({_TAGS})>")


class Answered(NamedTuple):
    """The answer in a text; `unfinished`: the text ends inside a thought, and holds no answer."""

    text: str
    unfinished: bool = False


def without_thoughts(text: str) -> Answered:
    """A text less the thoughts that it begins with. Tags that stand later are text."""
    begun, ended = _BEGUN.match(text), _ENDED.search(text)
    if begun is None and (ended is None or "<" in text[: ended.start()]):
        return Answered(text)
    if ended is None:
        return Answered("", unfinished=True)
    return without_thoughts(text[ended.end() :].lstrip())


def pieces_without_thoughts(pieces: Iterable[str]) -> Iterator[str]:
    """The pieces of a text less a thought that it begins with; the join is that of
    `without_thoughts` where the thought is opened in the text itself."""
    kept = ""
    source = iter(pieces)
    for piece in source:
        kept += piece
        head = kept.lstrip()
        if head and not any(f"<{tag}>".startswith(head) for tag in _TAGS.split("|")):
            if _BEGUN.match(kept) is None:
                break
            rest = without_thoughts(kept)
            if not rest.unfinished:
                kept = rest.text
                if kept and _BEGUN.match(kept) is None:
                    break
    else:
        rest = without_thoughts(kept)
        if rest.text:
            yield rest.text
        return
    yield kept
    yield from source
