"""Familiarity in plain sentences, with what it does not say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from luthier.records import Score

if TYPE_CHECKING:
    from luthier.probe.familiarity import Familiarity, MatchedText

UNKNOWN_SHARE = 0.5  # of the documents that the base can make nothing of


def familiarity_sentences(found: Familiarity) -> list[str]:
    """What was found, the most important first; the sample last."""
    if found.lacks:
        return [f"Familiarity was not measured: {found.lacks}."]
    lines = [_fit(found)]
    lines += [_shuffled(found, one) for one in found.against if one.decided_by == "paired"]
    lines += [_named(one) for one in found.against if one.decided_by not in ("", "paired")]
    lines += [f"Against {one.name}: {one.lacks}." for one in found.against if one.lacks]
    if not any(one.decided_by not in ("", "paired") for one in found.against):
        lines.append(
            "Whether it has read them cannot be told from shuffled text: --against, with text of "
            "the same kind that is newer than the base, tells it."
        )
    lines += _foreign(found)
    whole = found.windows == found.windows_of
    read = len(found.documents)
    lines.append(
        f"Read: {'all ' if whole else ''}{found.windows:,} "
        + ("" if whole else f"of {found.windows_of:,} ")
        + f"windows ({found.tokens:,} tokens) in {read:,} of {found.documents_of:,} documents"
        + (f"; {found.too_short:,} are too short for one." if found.too_short else ".")
    )
    return lines


def figure(score: Score) -> str:
    """A figure with its interval: "0.73 [0.61–0.82]"."""
    if score.value is None:
        return "not measured"
    if score.low is None or score.high is None:
        return f"{score.value:.2f}"
    return f"{score.value:.2f} [{score.low:.2f}–{score.high:.2f}]"


def _fit(found: Familiarity) -> str:
    bits, plain = found.bits_a_byte or 0.0, found.zlib_bits_a_byte or 0.0
    if bits >= plain:
        return (
            f"The base needs {bits:.2f} bits for a byte of these documents, no less than a "
            f"compressor that knows no language ({plain:.2f}): they are foreign to it."
        )
    return (
        f"The base needs {bits:.2f} bits for a byte of these documents; a compressor that knows no "
        f"language needs {plain:.2f}."
    )


def _shuffled(found: Familiarity, one: MatchedText) -> str:
    assert one.paired is not None
    words = "words" in one.name
    what = "words" if words else "sentences"
    beginning = f"In {figure(one.paired)} of the windows the {what} are likelier in their own order"
    if one.verdict == "more":
        if words:
            return f"{beginning}: it knows the language of these documents."
        return f"{beginning}: it follows what they say from sentence to sentence."
    if words:
        return f"{beginning}: it does not tell their order from chance, and cannot know them."
    return f"{beginning}: it does not follow them beyond the sentence."


def _named(one: MatchedText) -> str:
    decisive = one.decisive
    assert decisive is not None
    beginning = f"Against {one.name} ({one.documents:,} documents), by {decisive.metric}: "
    number = f"AUC {figure(decisive)}"
    if one.verdict == "cannot tell":
        return f"{beginning}cannot tell ({number}, and the interval holds 0.5)."
    said = f"{beginning}the documents are {one.verdict} familiar ({number})"
    blind = one.blind
    if blind is None:
        return f"{said}. There are too few documents to see whether their words alone differ."
    if blind.low is not None and blind.high is not None and not blind.low <= 0.5 <= blind.high:
        return (
            f"{said}; but words alone tell the two apart too, without any model "
            f"(AUC {figure(blind)}): the kind of text may be all the difference."
        )
    return f"{said}, and their words alone do not tell them apart (AUC {figure(blind)})."


def _foreign(found: Familiarity) -> list[str]:
    foreign = [document.name for document in found.documents if document.foreign]
    if not foreign:
        return []
    shown = ", ".join(foreign[:4]) + (", …" if len(foreign) > 4 else "")
    of = len(found.documents)
    if len(foreign) > UNKNOWN_SHARE * of:
        return [
            f"It can make nothing of {len(foreign)} of {of} documents ({shown}): another language "
            "or form than it was trained on, or too short to tell."
        ]
    return [f"It can make nothing of {len(foreign)} of {of} documents: {shown}."]
