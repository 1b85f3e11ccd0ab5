"""The page of a probe: one HTML file that opens offline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from luthier.probe.findings import Findings
from luthier.probe.suffix_index import CorpusPlace
from luthier.probe.verbatim import AnswerTraces, TracedSpan
from luthier.report.html import GENERATOR, environment, stylesheet, write_page
from luthier.report.probe_charts import (
    ProbeChart,
    familiarity_charts,
    hallucination_charts,
    skills_charts,
)
from luthier.report.probe_view import part_views

DOCUMENTS, ANSWERS, SPANS = 30, 20, 12  # that are shown
CHARACTERS = 1500  # of an answer
Piece = tuple[str, str]  # a stretch of an answer, and where it stands or ""
Traced = tuple[AnswerTraces, list[Piece], list[tuple[TracedSpan, CorpusPlace]]]


def write_probe_page(found: Findings, path: str | Path) -> Path:
    """Write the page, completely or not at all; StorageError where that fails or where the file is
    not one of ours."""
    return write_page(probe_page(found), path)


def probe_page(found: Findings) -> str:
    """The page as one HTML document."""
    from markupsafe import Markup

    documents = () if found.familiarity is None else found.familiarity.documents
    text = (
        environment()
        .get_template("probe.html.j2")
        .render(
            found=found,
            views=part_views(found),
            charts=_charts(found),
            documents=sorted(documents, key=lambda one: -one.bits_a_byte)[:DOCUMENTS],
            traced=_traced(found),
            style=Markup(stylesheet()),
            generator=Markup(GENERATOR.decode()),
        )
    )
    return text.replace("\x00", "\ufffd").lstrip()


def _charts(found: Findings) -> dict[str, list[ProbeChart]]:
    charts = {}
    if found.familiarity is not None:
        charts["familiarity"] = familiarity_charts(found.familiarity)
    if found.hallucination is not None:
        charts["hallucination"] = hallucination_charts(found.hallucination)
    if found.skills is not None:
        charts["skills"] = skills_charts(found.skills)
    return charts


def _traced(found: Findings) -> list[Traced]:
    """The answers with the most traced words first."""
    if found.traces is None:
        return []
    answers = sorted(
        found.traces.answers, key=lambda one: -max(one.share or 0.0, one.passage_share or 0.0)
    )
    traced: list[Traced] = []
    for answer in answers[:ANSWERS]:
        spans = [*answer.spans, *answer.passage_spans]
        places = [(span, span.places[0]) for span in spans[:SPANS] if span.places]
        traced.append((answer, _pieces(answer.text[:CHARACTERS], spans), places))
    return traced


def _pieces(text: str, spans: Sequence[TracedSpan]) -> list[Piece]:
    """The text cut where spans begin and end; where two overlap, the one before goes on."""
    pieces: list[Piece] = []
    at = 0
    for span in sorted(spans, key=lambda one: one.start):
        start, end = max(at, span.start), min(span.end, len(text))
        if end <= start:
            continue
        pieces.append((text[at:start], ""))
        place = span.places[0] if span.places else None
        pieces.append((text[start:end], f"{place.document}, line {place.line}" if place else " "))
        at = end
    pieces.append((text[at:], ""))
    return [piece for piece in pieces if piece[0]]
