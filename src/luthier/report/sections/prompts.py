"""The exact text that the model read. Its whitespace is made visible, and is copied unchanged."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from luthier.report.technique_view import TechniqueView

# A run of two or more spaces, a space at either end of a line, a tab, or a space of another kind.
_MARKED_SPACES = re.compile(
    r"\n|\r|\t|^ +| +$| {2,}|[\u00a0\u2000-\u200b\u202f\u3000\ufeff]", re.MULTILINE
)
_ADDITIONS = {
    "soft prompt": "trained virtual tokens were read beside this text; they have no spelling",
    "adapter": "the base read this text through a trained adapter",
    "weights": "fine-tuned weights read this text",
    "retrieval": "the passages were looked up for this input; another one gets others",
}


@dataclass(frozen=True, slots=True)
class PromptReader:
    """A technique that used a prompt, with which of its seeds, and what it added to the text."""

    view: TechniqueView
    seeds: str
    addition: str


@dataclass(frozen=True, slots=True)
class ShownPrompt:
    """One prompt and the techniques that used it. `markup` is escaped HTML. `is_open`: it is shown
    unfolded, because the pick used it."""

    readers: tuple[PromptReader, ...]
    markup: str
    characters: int
    is_open: bool


def prompts(views: Sequence[TechniqueView]) -> list[ShownPrompt]:
    """Every distinct prompt once, in the order in which techniques first used it."""
    texts: dict[str, dict[str, list[int]]] = {}
    for view in views:
        for run in view.result.runs:
            if run.prompt_text:
                texts.setdefault(run.prompt_text, {}).setdefault(view.key, []).append(run.seed)
    by_key = {view.key: view for view in views}
    shown = []
    for text, seeds_of in texts.items():
        readers = tuple(_reader(by_key[key], seeds) for key, seeds in seeds_of.items())
        is_open = any(
            reader.view.mark == "pick" and reader.view.result.best_seed in seeds_of[reader.view.key]
            for reader in readers
        )
        shown.append(ShownPrompt(readers, visible(text), len(text), is_open))
    return shown


def _reader(view: TechniqueView, seeds: Sequence[int]) -> PromptReader:
    """Seeds are named only where they did not all use the same prompt."""
    all_seeds = len(seeds) == sum(1 for run in view.result.runs if run.prompt_text)
    names = ", ".join(map(str, seeds))
    words = "" if all_seeds else f"seed {names}" if len(seeds) == 1 else f"seeds {names}"
    return PromptReader(view, words, _ADDITIONS.get(view.result.family, ""))


def visible(text: str) -> str:
    """Escaped HTML in which line ends, tabs and spaces that are easily missed carry a mark.

    The marks come from the style sheet and are no part of the text, so that it is copied exactly.
    """
    parts, end = [], 0
    for match in _MARKED_SPACES.finditer(text):
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
