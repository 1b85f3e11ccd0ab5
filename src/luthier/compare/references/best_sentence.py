"""The best sentence of the best passage: what a search says before anything reads it.

The passage is the first that the index of the task's documents finds; of its sentences the one that
is nearest to the question (cosine of embeddings; without vectors, of TF-IDF) is the answer.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from luthier.compare.references.plain_reference import FittedReference, PlainReference
from luthier.records import Example, FitRecord

if TYPE_CHECKING:
    from luthier.retrieval import Index
    from luthier.task.task import Task


class BestSentence(PlainReference):
    """Searches and does not read."""

    name = "best sentence of the best passage"

    def __init__(self, *, vectors: bool) -> None:
        """`vectors`: an embedder is at hand."""
        self.vectors = vectors

    def settings(self) -> Mapping[str, Any]:
        """Whether it embeds."""
        return {"vectors": self.vectors}

    def fit(self, task: Task) -> FittedReference:
        """Index the documents, or open the index that a task names."""
        from luthier.retrieval import IndexSettings, SearchSettings, open_index
        from luthier.retrieval.types import LEXICAL_ONLY
        from luthier.techniques.rag.task_index import existing_index, named_index, task_index

        began = time.perf_counter()
        named = named_index(task, None)
        if named is not None:
            found = existing_index(named)
        elif self.vectors:
            found = task_index(task, IndexSettings())
        else:
            found = task_index(task, IndexSettings(embedder=LEXICAL_ONLY))
        index = open_index(found.index)
        search = SearchSettings(k=1, mode="hybrid" if found.can_embed else "lexical")
        record = FitRecord(
            fit_seconds=time.perf_counter() - began,
            trainable_parameters=0,
            train_examples=0,
            settled={"mode": search.mode, "passages": found.passages},
            unread_documents=found.unread,
        )

        def predict(examples: Sequence[Example]) -> list[str]:
            questions = [example.text for example in examples]
            hits = index.search(questions, search)
            return [
                _nearest_sentence(index, question, own[0].passage.text) if own else ""
                for question, own in zip(questions, hits, strict=True)
            ]

        return FittedReference(predict, record)


def _nearest_sentence(index: Index, question: str, passage: str) -> str:
    from luthier.models.rag.citations import SENTENCE

    lines = [line for line in passage.splitlines() if line.strip()]
    sentences = [part.strip() for line in lines for part in SENTENCE.split(line) if part.strip()]
    if len(sentences) < 2:
        return "".join(sentences)
    if index.facts.dimension is not None:
        near = index.embedder.embed(sentences) @ index.embedder.embed_queries([question])[0]
        return sentences[int(np.argmax(near))]
    from sklearn.feature_extraction.text import TfidfVectorizer

    weights = TfidfVectorizer(token_pattern=r"(?u)\b\w+\b").fit([*sentences, question])
    near = (weights.transform(sentences) @ weights.transform([question]).T).toarray()[:, 0]
    return sentences[int(np.argmax(near))]
