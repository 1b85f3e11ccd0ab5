"""How to cut the documents into passages and how to search them: what finds the answers of the dev
questions."""

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
MOST_QUESTIONS = 300  # of the dev split
RELEVANCE_UNKNOWN = (
    "Whether a passage holds the answer cannot be told on this task (its targets are labels and it "
    "names no evidence), so ways to search were tried with the model itself."
)


@dataclass(frozen=True, slots=True)
class DocumentSearch:
    """Documents and how to search them. `entries` is how every search that was tried did on dev."""

    documents: TaskIndex
    settings: SearchSettings
    entries: tuple[FitStep, ...] = ()
    notes: tuple[str, ...] = ()


def best_searches(
    task: Task, *, index: str | None, modes: Sequence[Mode], chunks: Sequence[int]
) -> list[DocumentSearch]:
    """The best search by MRR@10 on dev, the first of equals, in a list of its own; the searches of
    all `modes` where relevance is not known.

    `index` is None or the place of an index. `chunks` are lengths of passages in characters, tried
    where the index is made here.
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
    searches = [
        DocumentSearch(documents, SearchSettings(mode=mode))
        for documents in sources
        for mode in modes
        if documents.can_embed or mode == "lexical"
    ] or [DocumentSearch(sources[0], SearchSettings(mode="lexical"))]
    asked = with_known_relevance(task.dev, labels=bool(task.labels))[:MOST_QUESTIONS]
    if not asked:
        first = [s for s in searches if s.documents is sources[0]]
        return [replace(search, notes=(RELEVANCE_UNKNOWN,)) for search in first]
    mrrs: list[float] = []
    entries: list[FitStep] = []
    for search in searches:
        documents = search.documents
        ranks = relevance(Knowledge(documents.index, documents.fingerprint, search.settings), asked)
        mrr = mean(reciprocal_rank(r) for r in ranks)
        recall = mean(recall_at(r, 5) for r in ranks)
        entry = FitStep(
            candidate=_name(search),
            examples=len(asked),
            mrr_at_10=round(mrr, 4),
            recall_at_5=round(recall, 4),
        )
        mrrs.append(mrr)
        entries.append(entry)
    return [replace(searches[mrrs.index(max(mrrs))], entries=tuple(entries))]


def _name(search: DocumentSearch) -> str:
    size = search.documents.chunk_characters
    cut = "" if size is None else f", passages of {size} characters"
    return f"search: {search.settings.mode}{cut}"
