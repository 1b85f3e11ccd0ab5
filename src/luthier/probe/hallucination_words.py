"""The hallucination map in plain sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from luthier.records import Score

if TYPE_CHECKING:
    from luthier.probe.hallucination_map import HallucinationMap

LARGE_BIAS = 0.05
MUCH = 0.15  # of the way from blind to the oracle
WORST_TOPICS = 2


def hallucination_sentences(found: HallucinationMap) -> list[str]:
    """What was found, the most important first; at the end what is missing."""
    lines = []
    if found.closed_book is not None and found.closed_book.value is not None:
        lines.append(
            f"Asked {found.examples} questions of {found.split} by itself, it is right in "
            f"{share(found.closed_book)}."
        )
    lines += [*_book(found), *_calibration(found), *_selective(found), *_topics(found)]
    return [*lines, *([found.lacks] if found.lacks else [])]


def share(score: Score) -> str:
    """A share with its interval: "34 % (25–44)"."""
    if score.value is None:
        return "–"
    if score.low is None or score.high is None:
        return f"{100 * score.value:.0f} %"
    return f"{100 * score.value:.0f} % ({100 * score.low:.0f}–{100 * score.high:.0f})"


def _book(found: HallucinationMap) -> list[str]:
    book = found.book
    if book is None or book.open_book is None:
        return []
    lines = [f"With {book.source} it is right in {share(book.open_book)}."]
    if book.abstains is not None and book.abstains_wrongly is not None:
        lines.append(
            f"Where the passage does not answer, it says so in {share(book.abstains)}; where it "
            f"does answer, it says so wrongly in {share(book.abstains_wrongly)}."
        )
    return lines


def _calibration(found: HallucinationMap) -> list[str]:
    if found.ece is None or found.ece.value is None or found.bias is None:
        return []
    words = "is about as sure as it is right"
    if found.bias > LARGE_BIAS:
        words = f"believes too much of itself, by {100 * found.bias:.0f} points"
    elif found.bias < -LARGE_BIAS:
        words = f"believes too little of itself, by {-100 * found.bias:.0f} points"
    lines = [
        f"By {found.confidence_from}, it {words}; calibration error {found.ece.value:.3f} "
        f"({found.ece.low:.3f}–{found.ece.high:.3f}), where perfect calibration would show about "
        f"{found.floor or 0.0:.3f}."
    ]
    if found.temperature is not None and found.ece_scaled is not None:
        lines.append(
            f"With the temperature {found.temperature:.2f}, fitted on {found.temperature_examples} "
            f"dev examples, the error is {found.ece_scaled.value:.3f}."
        )
    return lines


def _selective(found: HallucinationMap) -> list[str]:
    risk = found.risk
    if risk is None or risk.gain is None:
        return []
    half = min(risk.points, key=lambda point: abs(point.coverage - 0.5))
    useful = "helps" if risk.gain > MUCH else "hardly helps"
    return [
        f"To answer only where it is sure {useful}: of the surest {100 * half.coverage:.0f} % it "
        f"gets {100 * half.risk:.0f} % wrong, of all {100 * risk.blind:.0f} % (AURC "
        f"{risk.aurc:.3f}, an oracle {risk.least:.3f})."
    ]


def _topics(found: HallucinationMap) -> list[str]:
    overall = None if found.closed_book is None else found.closed_book.value
    weak = [t for t in found.topics if overall is not None and t.high < overall]
    return [
        f"It is weak on “{topic.topic}”: {100 * topic.accuracy:.0f} % of {topic.questions} right"
        + ("." if topic.confidence is None else f", {100 * topic.confidence:.0f} % sure.")
        for topic in weak[:WORST_TOPICS]
    ]
