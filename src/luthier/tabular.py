"""Tables as text, as people have them: how they are encoded, and which sign separates cells."""

from __future__ import annotations

import codecs
import csv
import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import accumulate

DELIMITERS = (",", ";", "\t", "|")
SNIFFED_LINES = 30
SNIFFED_CHARACTERS = 100_000
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
# The line that Excel reads as the separator of what follows, and other programs as a header.
_SEPARATOR_LINE = re.compile(r'\ufeff?"?sep=(.)"?\1*\s*', re.IGNORECASE)
_INVISIBLE = "\ufeff\u200b\u2060\u00ad"


def encoding_of(head: bytes) -> str | None:
    """The encoding that the first bytes of a text show by a mark, or by the zeros of UTF-16; None
    where they show none."""
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if max(even, odd) < 2 or min(even, odd) * 4 > max(even, odd):
        return None  # no zeros, as in any text of bytes, or zeros in all places, as in no text
    name = "utf-16-le" if odd > even else "utf-16-be"
    try:
        codecs.getincrementaldecoder(name)().decode(head)
    except UnicodeDecodeError:
        return None
    return name


def separator_line(line: str) -> str | None:
    """The sign that a first line `sep=;` names; None for any other line."""
    found = _SEPARATOR_LINE.fullmatch(line)
    return found[1] if found else None


def find_delimiter(lines: Sequence[str], columns: Iterable[str] = (), *, usual: str = ",") -> str:
    """The sign that separates the cells of a table.

    It is the one under which the header has most of the `columns`, then the one under which most
    rows have as many cells as the header, then the one that makes most cells; `usual` wins ties.
    `lines` are the first ones, the header before the others.
    """
    wanted = set(columns)

    def merit(delimiter: str) -> tuple[int, float, int, bool]:
        header, *rows = _parsed(lines, delimiter) or [[]]
        names = {column_name(cell) for cell in header}
        alike = sum(_without_empty_end(row, len(header)) == len(header) for row in rows)
        even = alike / len(rows) if rows and len(header) > 1 else 0.0
        return len(wanted & names), even, len(header), delimiter == usual

    return max(DELIMITERS, key=merit)


def column_name(cell: str) -> str:
    """The name in a cell of a header: composed, without white space and invisible signs around."""
    return unicodedata.normalize("NFC", cell).strip(_INVISIBLE + " \t\r\n\v\f\xa0\u3000")


def without_formula(cell: str) -> str:
    """`="007"`, as tables keep a text from becoming a number, is 007."""
    return cell[2:-1] if cell.startswith('="') and cell.endswith('"') and len(cell) > 3 else cell


def _parsed(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    """The rows as far as they can be parsed; the last may have been cut off."""
    rows: list[list[str]] = []
    ends = list(accumulate(map(len, lines)))
    few = max(2, sum(end <= SNIFFED_CHARACTERS for end in ends))
    try:
        for row in csv.reader(lines[:few], delimiter=delimiter):
            if any(cell.strip() for cell in row):
                rows.append(row)
    except csv.Error:
        pass
    return rows


def _without_empty_end(row: Sequence[str], width: int) -> int:
    """The number of cells, less the empty ones beyond `width`."""
    count = len(row)
    while count > width and not row[count - 1].strip():
        count -= 1
    return count
