"""The exact text the model read, with its whitespace made visible and still copied unchanged."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from luthier.report.technique_view import TechniqueView

# A run of two or more spaces, a space at either end of a line, a tab, or a space of another kind.
_TELLING = re.compile(
    r"\n|\r|\t|^ +| +$| {2,}|[\u00a0\u2000-\u200b\u202f\u3000\ufeff]", re.MULTILINE
)
_BESIDE = {
    "soft prompt": "trained virtual tokens stand beside this text; they have no spelling",
    "adapter": "the base read this text through a trained adapter",
    "weights": "fine-tuned weights read this text",
    "retrieval": "the passages were looked up for this input; another one gets others",
}


@dataclass(frozen=True, slots=True)
class PromptReader:
    """Who read a prompt: a technique, which of its seeds, and what stood beside the text."""

    line: TechniqueView
    seeds: str
    beside: str


@dataclass(frozen=True, slots=True)
class ShownPrompt:
    """One text and all who read it. `markup` is escaped HTML; `opened`: the pick read it."""

    readers: tuple[PromptReader, ...]
    markup: str
    characters: int
    opened: bool


def prompts(lines: Sequence[TechniqueView]) -> list[ShownPrompt]:
    """Every distinct prompt once, in the order in which techniques first read it."""
    texts: dict[str, dict[str, list[int]]] = {}
    for line in lines:
        for run in line.row.seeds:
            if run.prompt_text:
                texts.setdefault(run.prompt_text, {}).setdefault(line.key, []).append(run.seed)
    known = {line.key: line for line in lines}
    shown = []
    for text, seeds_of in texts.items():
        readers = tuple(_reader(known[key], seeds) for key, seeds in seeds_of.items())
        opened = any(
            reader.line.mark == "pick" and reader.line.row.best_seed in seeds_of[reader.line.key]
            for reader in readers
        )
        shown.append(ShownPrompt(readers, visible(text), len(text), opened))
    return shown


def _reader(line: TechniqueView, seeds: Sequence[int]) -> PromptReader:
    """Seeds are named only where not all of them read the same."""
    everyone = len(seeds) == sum(1 for run in line.row.seeds if run.prompt_text)
    names = ", ".join(map(str, seeds))
    said = "" if everyone else f"seed {names}" if len(seeds) == 1 else f"seeds {names}"
    return PromptReader(line, said, _BESIDE.get(line.row.family, ""))


def visible(text: str) -> str:
    """Escaped HTML in which line ends, tabs and telling spaces carry a mark.

    The marks come from the style sheet and are no part of the text: what a reader copies is exact.
    """
    parts, end = [], 0
    for match in _TELLING.finditer(text):
        parts.append(escape(text[end : match.start()]))
        parts.append(_marked(match.group()))
        end = match.end()
    parts.append(escape(text[end:]))
    return "".join(parts)


def _marked(space: str) -> str:
    if space == "\n":
        return '<b class="nl"></b>\n'
    if space == "\r":
        return '<b class="cr"></b>&#13;'
    if space == "\t":
        return '<b class="tab">\t</b>'
    if space[0] == " ":
        return '<b class="sp"> </b>' * len(space)
    return f'<b class="odd" title="U+{ord(space):04X}">{space}</b>'
