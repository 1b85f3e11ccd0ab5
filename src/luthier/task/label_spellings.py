"""Labels in several spellings: joined where nobody can tell them apart, noted elsewhere.

Normal forms of Unicode look the same, and 1.0 is the number 1, so those are joined. Case, white
space and signs may mean something: a note names the `rename` that joins them.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from luthier.records import Example

# Three zeros may be thousands: 1,000 and 1.000.
_WHOLE = re.compile(r"([-+]?\d+)[.,](?!0{3}$)0+")
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+")
_NUMBER = re.compile(r"([-+]?)0*(\d+)(?:[.,](\d*))?")
_INVISIBLE = re.compile("[\u200b\u2060\ufeff\u00ad]")
# Words that stand for a missing value in many tables, and may be labels.
MISSING = frozenset(["na", "n/a", "#n/a", "none", "null", "nil", "<na>", "-", "?", "."])
SHOWN = 6


def whole_number(label: str) -> str:
    """ "1" for "1.0" and "1,0"; any other label as it is."""
    found = _WHOLE.fullmatch(label)
    return found[1].removeprefix("+") if found else label


def declared_spelling(label: str, declared: Collection[str]) -> str:
    """The declared label that a label of the data is: itself, or the same whole number."""
    if label in declared:
        return label
    same = [other for other in declared if whole_number(other) == whole_number(label)]
    return same[0] if len(same) == 1 else label


def joined_numbers(
    sources: Mapping[str, Sequence[Example]],
) -> tuple[dict[str, Sequence[Example]], list[str]]:
    """The examples with 1.0 as 1 where both are labels, and notes on it."""
    counts = Counter(e.target for found in sources.values() for e in found)
    joined = {label: whole_number(label) for label in counts if whole_number(label) in counts}
    joined = {label: number for label, number in joined.items() if label != number}
    if not joined:
        return dict(sources), []
    pairs = ", ".join(f"{a} as {b} ({counts[a]:,})" for a, b in sorted(joined.items())[:SHOWN])
    return {
        part: [replace(e, target=joined.get(e.target, e.target)) for e in found]
        for part, found in sources.items()
    }, [f"Labels that are the same number are counted as one: {pairs}."]


def spelling_notes(counts: Mapping[str, int], declared: Collection[str]) -> list[str]:
    """Notes on labels that differ in case, white space or signs only, and on words for nothing."""
    notes = []
    for labels in spelling_groups(counts, declared):
        best, *others = sorted(labels, key=lambda label: (-counts[label], label))
        shown = ", ".join(f"{quoted(label)} ({counts[label]:,})" for label in (best, *others))
        renames = ", ".join(f"{quoted(label)}: {quoted(best)}" for label in others)
        notes.append(
            f"The labels {shown} differ in case, white space or signs only, and count as different "
            f"ones: `rename: {{{renames}}}` in the task file joins them."
        )
    for label in counts:
        if label.casefold() in MISSING and label not in declared:
            notes.append(
                f"The label {quoted(label)} ({counts[label]:,}) counts as a label like any other. "
                f'If it stands for a missing one, `rename: {{{quoted(label)}: ""}}` with '
                "`skip_empty: true` leaves its rows out."
            )
    return notes


def spelling_groups(counts: Mapping[str, int], declared: Collection[str]) -> list[list[str]]:
    """The labels that are alike but for their spelling, less those that the user has declared."""
    alike: dict[str, list[str]] = {}
    for label in counts:
        alike.setdefault(spelling_key(label), []).append(label)
    return [
        labels
        for labels in alike.values()
        if len(labels) > 1 and not all(label in declared for label in labels)
    ]


def spelling_key(label: str) -> str:
    """What is left of a label without case, width, accents' form, white space, joining signs
    between its words and signs at its end; a number by its value."""
    text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", label)).casefold().strip()
    if _THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    number = _NUMBER.fullmatch(text)
    if number and len(number[3] or "") != 3:
        sign = "-" if number[1] == "-" else ""
        return f"{sign}{number[2]}.{(number[3] or '').rstrip('0')}"
    text = text.strip("\"'\u2018\u2019\u201c\u201d`").rstrip(".,;:!") or text
    text = re.sub(r"(?<=\w)[-_/](?=\w)", " ", text)
    return re.sub(r"\s+|_", "", text) or label


def quoted(label: str) -> str:
    """A label as YAML reads it back, with what cannot be seen as escapes."""
    visible = all(c == " " or (c.isprintable() and not c.isspace()) for c in label)
    plain = re.fullmatch(r"[^\W\d][\w.+-]*(?: [\w.+-]+)*", label) is not None
    composed = unicodedata.is_normalized("NFC", label)
    words = ("true", "false", "null", "none", "yes", "no", "on", "off")
    if visible and plain and composed and label.lower() not in words:
        return label
    return json.dumps(label, ensure_ascii=not (visible and composed))
