"""How a model with knowledge uses what it finds: groundedness, abstention, and search time."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from luthier.models.model import Model
from luthier.models.rag.citations import check_citations, is_abstention, without_citations
from luthier.models.rag.lookup import cached_index, clear_cache, search_knowledge
from luthier.models.rag.passages import joined, with_citation_request
from luthier.records import Example, SampleScore, Score
from luthier.scoring.retrieval_metrics import (
    DEPTH,
    contains_answer,
    relevant,
    score_of,
    search_scores,
    with_known_relevance,
)

MOST_QUESTIONS = 50  # asked without the passages that answer them


def groundedness(model: Model, sample_scores: Sequence[SampleScore]) -> Score:
    """The mean share of the words of an answer that occur in the passages shown with it.

    Answers that abstain or are empty are not counted.
    """
    knowledge = model.adaptation.knowledge
    assert knowledge is not None
    examples, values = [], []
    found = search_knowledge(knowledge, [s.input for s in sample_scores])
    for sample, hits in zip(sample_scores, found, strict=True):
        answered = _words(without_citations(sample.raw))
        if not answered or is_abstention(sample.raw):
            continue
        in_passages = set(_words(" ".join(h.passage.text for h in hits)))
        values.append(sum(word in in_passages for word in answered) / len(answered))
        examples.append(Example(sample.example_id, sample.input, sample.target, sample.group))
    return score_of("groundedness", values, examples)


def abstention(model: Model, examples: Sequence[Example], *, seed: int = 0) -> Score:
    """The share of questions left unanswered when the passages with their answer are taken away.

    A question counts as unanswered where the model abstains, or where no remaining passage supports
    the answer and fits the question. Only the first `MOST_QUESTIONS` examples are asked.
    """
    knowledge = model.adaptation.knowledge
    assert knowledge is not None
    asked, least = list(examples[:MOST_QUESTIONS]), knowledge.least_relevance
    k = knowledge.search.k
    wide = replace(knowledge, search=replace(knowledge.search, k=k + DEPTH))
    remaining = [
        [h for h in hits if not contains_answer(h.passage, e) and not relevant(h.passage, e)][:k]
        for e, hits in zip(asked, search_knowledge(wide, [e.text for e in asked]), strict=True)
    ]
    shown = [
        replace(e, context=joined(model, hits, own=e.context))
        for e, hits in zip(asked, remaining, strict=True)
    ]
    prompt = with_citation_request(model.adaptation.prompt, knowledge)
    answers = model.adapt(prompt=prompt, knowledge=None).answer(shown, seed=seed)
    unanswered = [
        float(not check_citations(a.text, hits, question=e.text, least=least).supported)
        for e, a, hits in zip(asked, answers, remaining, strict=True)
    ]
    return score_of("abstention", unanswered, asked)


def search_seconds(model: Model, questions: Sequence[str]) -> tuple[float, float | None]:
    """Median seconds of the search for one question, and of the embedding within it.

    The second is None where the search embeds nothing. The cache is cleared before each question.
    """
    knowledge = model.adaptation.knowledge
    assert knowledge is not None
    index, whole, embedding = cached_index(knowledge), [], []
    embeds = knowledge.search.mode != "lexical"
    for question in questions:
        clear_cache(knowledge)
        before = index.search_seconds
        search_knowledge(knowledge, [question])
        whole.append(index.search_seconds - before)
        if embeds:
            started = time.perf_counter()
            index.embedder.embed([question])
            embedding.append(time.perf_counter() - started)
    return median(whole), median(embedding) if embedding else None


def knowledge_scores(
    model: Model, examples: Sequence[Example], sample_scores: Sequence[SampleScore]
) -> tuple[Score, ...]:
    """How good the search of a model with knowledge is, and how far its answers rest on it.

    () for a model without knowledge.
    """
    knowledge = model.adaptation.knowledge
    if knowledge is None:
        return ()
    labels = bool(model.adaptation.decoding.labels)
    scores: tuple[Score, ...] = ()
    known = with_known_relevance(examples, labels=labels)
    if known:
        scores += search_scores(knowledge, known)
    if labels:
        return scores
    return (*scores, groundedness(model, sample_scores), abstention(model, examples))


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())
