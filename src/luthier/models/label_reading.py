"""The label that a generated text names: exactly first, then ever more loosely.

Looseness never makes two labels one: a form that two labels share is no form of either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import regex

from luthier.models.prompt import PromptFormat, label_text
from luthier.scripts import composed, narrow, unspaced, without_signs

_ENDS = "\"'“”‘’„«»‹›「」『』`*_()[]{}<>.,;:!?。，、；：！？．।؟ \t"
_ALNUM = r"[\p{L}\p{M}\p{N}]"
_BETWEEN = regex.compile(r"(?<=[\p{L}\p{M}])[-_/.](?=[\p{L}\p{M}])")
_QUOTES = r"[\"'“”‘’«»「」『』`*(\[]"
_NAMED = regex.compile(r"[\p{L}\p{N}\p{So}]")


def _as_is(text: str) -> str:
    return text.strip()


def _even(text: str) -> str:
    return " ".join(composed(text).split())


def _bare(text: str) -> str:
    """Without quotes, emphasis and full stops around it."""
    return _even(text).strip(_ENDS)


def _caseless(text: str) -> str:
    return narrow(_bare(text)).casefold().replace("\ufe0f", "")


def _plain(text: str) -> str:
    """Words without signs; `_`, `-` and a space are not told apart inside a name."""
    return without_signs(_BETWEEN.sub(" ", _caseless(text)).replace("_", " "))


LEVELS: tuple[Callable[[str], str], ...] = (_as_is, _even, _bare, _caseless, _plain)


def parse_label(text: str, labels: Sequence[str], form: PromptFormat) -> str | None:
    """The label a generation names, None when it names none.

    The first line that is a label counts, or what stands behind a colon in it. Else, for chatty
    models, the first line that holds labels counts, if it holds one only; of labels that lie in one
    another the longest is meant.
    """
    names = [_names(level, labels, form) for level in LEVELS]
    lines = [line for line in text.splitlines() if line.strip()]
    for line in lines:
        behind = regex.split(r"[:：]\s", line)[-1]
        for part in dict.fromkeys((line, behind)):
            for level, named in zip(LEVELS, names, strict=True):
                if (label := named.get(level(part))) is not None:
                    return label
    for line in lines:
        for level, named in zip(LEVELS[1:], names[1:], strict=True):
            held = _held(level(line), named)
            if held:
                return held.pop() if len(held) == 1 else None
    return None


def _names(
    level: Callable[[str], str], labels: Sequence[str], form: PromptFormat
) -> dict[str, str]:
    """The forms of labels on one level, as they are and as a prompt shows them, without those that
    two labels share."""
    found: dict[str, set[str]] = {}
    for label in labels:
        for written in (label, label_text(label, form)):
            found.setdefault(level(written), set()).add(label)
    return {name: those.pop() for name, those in found.items() if name and len(those) == 1}


def _held(line: str, names: dict[str, str]) -> set[str]:
    """The labels that stand in a line, without those inside a longer one."""
    spans = [
        (*found.span(1), label)
        for name, label in names.items()
        for found in regex.finditer(_standing(name), line, overlapped=True)
    ]
    return {
        label
        for start, end, label in spans
        if not any(s <= start and end <= e and e - s > end - start for s, e, _ in spans)
    }


def _standing(name: str) -> str:
    """A pattern of a name that stands by itself; signs alone stand by themselves in quotes only."""
    body = f"({regex.escape(name, special_only=True)})"
    if not _NAMED.search(name):
        return rf"{_QUOTES}\s*{body}\s*{_QUOTES}"
    before = after = ""
    if regex.match(r"[\p{L}\p{M}\p{N}+-]", name) and not unspaced(name[0]):
        before = (
            rf"(?<!{_ALNUM})(?<!(?<!{_ALNUM})[-+.])" if name[0].isdigit() else rf"(?<!{_ALNUM})"
        )
    if regex.match(r"[\p{L}\p{M}\p{N}+#-]", name[-1]) and not unspaced(name[-1]):
        after = rf"(?!{_ALNUM}|[+#]|[.,:]\d)"
    return before + body + after
