"""Which way of cutting and searching the documents finds the answers of the dev questions?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import mean

from luthier.models.adaptation import Knowledge
from luthier.records import FitStep
from luthier.retrieval import IndexSettings, SearchSettings
from luthier.retrieval.types import Mode
from luthier.scoring.retrieval_metrics import (
    recall_at,
    reciprocal_rank,
    relevance,
    with_known_relevance,
)
from luthier.task.task import Task
from luthier.techniques.rag.task_index import (
    TaskIndex,
    existing_index,
    named_index,
    task_index,
)

OVERLAP = 0.15  # of a passage, shared with the next
MOST_ASKED = 300  # dev questions
UNJUDGED = (
    "Whether a passage holds the answer cannot be told on this task (its targets are labels and it "
    "names no evidence), so ways to search were tried with the model itself."
)


@dataclass(frozen=True, slots=True)
class Search:
    """Documents, how to search them, and how all ways that were tried did on dev."""

    documents: TaskIndex
    settings: SearchSettings
    entries: tuple[FitStep, ...] = ()
    notes: tuple[str, ...] = ()


def best_searches(
    task: Task, *, index: str | None, modes: Sequence[Mode], chunks: Sequence[int]
) -> list[Search]:
    """The best search by MRR@10 on dev, first of equals; all modes where that cannot be judged.

    `chunks` are passage lengths in characters, tried where the index is made here.
    """
    named = named_index(task, index)
    if named is not None:
        sources = [existing_index(named)]
    else:
        sources = [
            task_index(
                task,
                IndexSettings(chunk_characters=size, overlap_characters=int(size * OVERLAP)),
            )
            for size in chunks
        ]
    ways = [
        Search(d, SearchSettings(mode=m))
        for d in sources
        for m in modes
        if d.can_embed or m == "lexical"
    ] or [Search(sources[0], SearchSettings(mode="lexical"))]
    asked = with_known_relevance(task.dev, labels=bool(task.labels))[:MOST_ASKED]
    if not asked:
        first = [w for w in ways if w.documents is sources[0]]
        return [Search(w.documents, w.settings, notes=(UNJUDGED,)) for w in first]
    sample_scores: list[tuple[float, FitStep]] = []
    for way in ways:
        slot = Knowledge(way.documents.index, way.documents.fingerprint, way.settings)
        ranks = relevance(slot, asked)
        mrr = mean(reciprocal_rank(r) for r in ranks)
        recall = mean(recall_at(r, 5) for r in ranks)
        entry = FitStep(
            candidate=_name(way),
            examples=len(asked),
            mrr_at_10=round(mrr, 4),
            recall_at_5=round(recall, 4),
        )
        sample_scores.append((mrr, entry))
    best = max(range(len(sample_scores)), key=lambda i: sample_scores[i][0])
    entries = tuple(entry for _, entry in sample_scores)
    return [replace(ways[best], entries=entries)]


def _name(way: Search) -> str:
    size = way.documents.chunk_characters
    cut = "" if size is None else f", passages of {size} characters"
    return f"search: {way.settings.mode}{cut}"
