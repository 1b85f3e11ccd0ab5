"""Words of any script: what scorers compare, and what a search looks up.

Python's own word characters leave out combining marks, without which words of Hindi or Thai fall
apart, and white space separates no words of Chinese, Japanese, Thai, Lao, Khmer or Burmese.
"""

from __future__ import annotations

import unicodedata

import regex

# Scripts that put no space between words: each character, with the marks on it, counts as a word.
_UNSPACED = (
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\u30fc"
    r"&&[\p{L}\p{M}\p{N}]]"
)
_CHARACTER = rf"(?={_UNSPACED})\X"
_EMOJI = r"\p{RI}\p{RI}|(?=\p{Extended_Pictographic})\X"
_LETTER = rf"[[\p{{L}}\p{{M}}\p{{N}}]--{_UNSPACED}]"
_JOINER = r"[\u200c\u200d]"  # inside words of Persian and of Indic scripts
_WORD = regex.compile(rf"(?V1){_CHARACTER}|{_EMOJI}|{_LETTER}+(?:{_JOINER}+{_LETTER}+)*")
_PIECE = regex.compile(rf"(?V1){_CHARACTER}|(?:(?!{_UNSPACED})\S)+")
# Signs that end a sentence or a part of it in these scripts, and occur in no Latin text.
_FOREIGN_SIGN = regex.compile(r"[。、，；：？！．「」『』（）《》〈〉【】・।॥؟،؛۔։።၊။៖៕༎།]")

_UNSPACED_OR_SIGN = regex.compile(rf"(?V1){_UNSPACED}|{_FOREIGN_SIGN.pattern}")
_UNSPACED_CHARACTER = regex.compile(rf"(?V1){_UNSPACED}")
_SINGLE = regex.compile(rf"(?V1){_CHARACTER}")
_DASH = regex.compile(r"[\u2010-\u2015\u2212\ufe63]")  # hyphens, dashes, and the minus sign
_THOUSANDS = regex.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?!\d)")
_SIGN = regex.compile(r"[\p{P}`^$]")
_MEANT = regex.compile(
    r"(?<=\d)[\p{P}^](?=\d)"  # 3.14, 12:30, 1/2, 2010-12
    r"|(?<![\p{L}\p{M}\p{N})\]-])-(?=\p{Sc}?[.,]?\d)"  # -5
    r"|(?<![\p{L}\p{M}\p{N}])[.,](?=\d)"  # .5
    r"|(?<=[\p{L}\p{N}])\#+(?![\p{L}\p{N}])"  # C#
    r"|(?<![\p{L}\p{N}\p{P}])\.(?=\p{L})"  # .NET
    r"|(?<=(?<![\p{L}\p{M}\p{N}])\p{L}{1,2})-(?![\p{L}\p{N}])"  # O-, AB-
)
# English words that tell nothing about what a text or a question is about.
FUNCTION_WORDS = frozenset(
    regex.findall(
        r"\w+",
        "a an and are as at be been but by can did do does for from had has have he her his how i "
        "in is it its no not of on or she so than that the their them then there they this to was "
        "we were what when where which who whom whose why will with you your",
    )
)
_WIDE = {wide: wide - 0xFEE0 for wide in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}


def composed(text: str) -> str:
    """The text in normal form C: "é" is one character, however it was typed."""
    return unicodedata.normalize("NFC", text)


def narrow(text: str) -> str:
    """`composed`, with the wide Latin letters, digits and signs of East Asian text made narrow."""
    return composed(text).translate(_WIDE)


def unspaced(character: str) -> bool:
    """Whether a character belongs to a script that puts no space between words."""
    return _UNSPACED_CHARACTER.fullmatch(character) is not None


def words_of(text: str) -> list[str]:
    """The words of a text, signs left out; an emoji is a word, and so is a character of a script
    without spaces."""
    found: list[str] = _WORD.findall(composed(text))
    return found


def spaced(text: str) -> str:
    """The text with a space between words that its script writes without one, signs kept.

    A text in an alphabet stays as it is.
    """
    text = composed(text)
    if text.isascii() or not (_UNSPACED_OR_SIGN.search(text)):
        return text
    return " ".join(_PIECE.findall(_FOREIGN_SIGN.sub(r" \g<0> ", text)))


def without_signs(text: str) -> str:
    """Lower case, single spaces, no punctuation but for signs that are part of a number or of a
    name (3.14, -5, 12:30, C#, .NET, O-). Signs of mathematics are no punctuation."""
    text = _DASH.sub("-", narrow(text).lower().strip())
    text = _THOUSANDS.sub(lambda found: found.group().replace(",", ""), text)
    meant = {k for found in _MEANT.finditer(text) for k in range(*found.span())}
    kept = (ch for k, ch in enumerate(text) if k in meant or not _SIGN.match(ch))
    return " ".join("".join(kept).split())


def searchable(text: str) -> str:
    """A text as a full-text search of words reads it: as it is, or, where its script writes words
    without spaces, as `search_terms`."""
    return " ".join(search_terms(text)) if _UNSPACED_CHARACTER.search(text) else text


def search_terms(text: str) -> list[str]:
    """The words of a text; of neighbours that are written without a space, the two together as
    well, so that a word of two characters is found before its characters."""
    text = composed(text)
    terms: list[str] = []
    before, end = "", -1
    for found in _WORD.finditer(text):
        word = found.group()
        single = _SINGLE.fullmatch(word) is not None
        if single and before and found.start() == end:
            terms.append(before + word)
        terms.append(word)
        before, end = word if single else "", found.end()
    return terms
