"""Answers with a passage that answers, and with one that does not: what documents change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from luthier.content import ABSTENTION
from luthier.context import report_progress
from luthier.models.model import Model
from luthier.models.rag.citations import is_abstention
from luthier.probe.found_passages import FoundPassages, find_passages
from luthier.probe.probe_request import ProbeRequest
from luthier.probe.task_sample import is_right
from luthier.records import Example, Score
from luthier.scoring.retrieval_metrics import score_of
from luthier.scoring.scorer import Scorer

QUESTIONS = 40  # at most: each is asked three times, with passages
REQUEST = f'If the passage does not answer, write "{ABSTENTION}".'


@dataclass(frozen=True, slots=True)
class BookAnswers:
    """What a passage changes. `lacks`: why a figure is None.

    `source` says where the passages come from. `open_book` is the share of right answers with them.
    `abstains` is the share of questions that are left unanswered where the passage does not answer,
    and `abstains_wrongly` where it does, each with the request to say so.
    """

    lacks: str = ""
    source: str = ""
    open_book: Score | None = None
    abstains: Score | None = None
    abstains_wrongly: Score | None = None


def open_book(
    model: Model, request: ProbeRequest, examples: Sequence[Example], scorer: Scorer
) -> BookAnswers:
    """Ask the examples with passages out of what there is."""
    examples = examples[:QUESTIONS]
    passages = find_passages(model, request, examples)
    if not passages.source:
        return BookAnswers(lacks=passages.lacks)
    reader = model.adapt(knowledge=None)
    shown = _shown(examples, passages.answering)
    if not shown:
        return BookAnswers("The search found no passage.", passages.source)
    answers = reader.answer(shown, seed=request.seed)
    right = [
        float(is_right(scorer, a.parsed or "", e)) for a, e in zip(answers, shown, strict=True)
    ]
    report_progress(3, 4, "asked with documents")
    found = BookAnswers(source=passages.source, open_book=score_of("right answers", right, shown))
    return _with_abstention(found, reader, request, examples, passages)


def _with_abstention(
    found: BookAnswers, model: Model, request: ProbeRequest, examples: Sequence[Example],
    passages: FoundPassages,
) -> BookAnswers:  # fmt: skip
    prompt = model.adaptation.prompt
    instruction = f"{prompt.instruction} {REQUEST}".strip()
    asked = model.adapt(prompt=replace(prompt, instruction=instruction))
    scores = []
    for name, texts in (("abstains", passages.silent), ("wrongly", passages.answering)):
        shown = _shown(examples, texts)
        answers = asked.answer(shown, seed=request.seed)
        left = [float(is_abstention(answer.text)) for answer in answers]
        scores.append(score_of(name, left, shown) if shown else None)
    lacks = "" if scores[0] else "Every passage that was found answers its question."
    return replace(found, abstains=scores[0], abstains_wrongly=scores[1], lacks=lacks)


def _shown(examples: Sequence[Example], texts: Sequence[str]) -> list[Example]:
    """The examples with their texts as passages; those without one are left out."""
    return [replace(e, context=t) for e, t in zip(examples, texts, strict=True) if t]
