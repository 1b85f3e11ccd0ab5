"""How good a search is, apart from what a model makes of it.

A passage is relevant to a question when it is a part of the evidence (or holds it) and, where the
answer stands in the evidence word for word, the passage holds the answer too. Without evidence
every passage that holds the answer counts. R relevance by rank, best first, booleans.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING

from luthier.models.rag.citations import check_citations, is_abstention, without_citations
from luthier.models.rag.lookup import cached_index, clear_cache, search_knowledge
from luthier.models.rag.passages import joined, with_citation_request
from luthier.records import Example, SampleScore, Score
from luthier.scoring.aggregate import aggregate_samples
from luthier.scoring.scorers import TOKEN_F1
from luthier.scoring.text_scores import normalised

if TYPE_CHECKING:
    from luthier.models.adaptation import Knowledge
    from luthier.models.model import Model
    from luthier.retrieval import Passage

CUTS = (1, 5, 10)
DEPTH = 10
MOST_TAKEN = 50  # questions whose answer is taken out of the documents
GRAM = 3  # words; shared ones tell a part of a passage from another text on the same matter
PART = 0.5


def relevant(passage: Passage, example: Example) -> bool:
    """Whether a passage is the evidence, or a part of it that still answers."""
    text, answer = normalised(passage.text), normalised(example.target)
    holds = _holds(passage, example)
    if example.evidence is None:
        return holds
    evidence = normalised(example.evidence)
    needs_answer = bool(answer) and f" {answer} " in f" {evidence} "
    return _is_part(text, evidence) and (holds or not needs_answer)


def judgeable(examples: Sequence[Example], *, labels: bool) -> list[Example]:
    """The examples for which relevance can be told: with evidence, or with an answer that is more
    than a label."""
    return [e for e in examples if e.evidence is not None or not labels]


def relevance(
    knowledge: Knowledge, examples: Sequence[Example], *, depth: int = DEPTH
) -> list[list[bool]]:
    """For each example, whether each of its best `depth` passages is relevant."""
    deep = replace(knowledge, search=replace(knowledge.search, k=depth))
    found = search_knowledge(deep, [e.text for e in examples])
    return [[relevant(h.passage, e) for h in hits] for e, hits in zip(examples, found, strict=True)]


def recall_at(ranks: Sequence[bool], k: int) -> float:
    """1 when one of the best `k` is relevant: the share of questions a reader could answer."""
    return float(any(ranks[:k]))


def reciprocal_rank(ranks: Sequence[bool]) -> float:
    """1 / rank of the first relevant passage, 0 where there is none."""
    return next((1.0 / (place + 1) for place, hit in enumerate(ranks) if hit), 0.0)


def ndcg(ranks: Sequence[bool], k: int = 10) -> float:
    """nDCG@k with gains 0 and 1 (Järvelin and Kekäläinen 2002, section 2.2), against the best order
    of the passages that were found."""
    gains = [1.0 / math.log2(place + 2) for place in range(k)]
    reached = sum(g for g, hit in zip(gains, ranks, strict=False) if hit)
    best = sum(gains[: min(k, sum(ranks))])
    return reached / best if best else 0.0


def search_scores(knowledge: Knowledge, examples: Sequence[Example]) -> tuple[Score, ...]:
    """recall@1, @5, @10, MRR@10 and nDCG@10 with 95 % intervals over examples (or groups)."""
    ranks = relevance(knowledge, examples)
    named = {f"recall@{k}": [recall_at(r, k) for r in ranks] for k in CUTS}
    named["mrr@10"] = [reciprocal_rank(r) for r in ranks]
    named["ndcg@10"] = [ndcg(r) for r in ranks]
    return tuple(_score(name, values, examples) for name, values in named.items())


def groundedness(model: Model, sample_scores: Sequence[SampleScore]) -> Score:
    """The mean share of an answer's words that stand in the passages it was given; answers that
    abstain or are empty are left out."""
    knowledge = model.adaptation.knowledge
    assert knowledge is not None
    examples, values = [], []
    found = search_knowledge(knowledge, [j.input for j in sample_scores])
    for each, hits in zip(sample_scores, found, strict=True):
        said = _words(without_citations(each.raw))
        if not said or is_abstention(each.raw):
            continue
        there = set(_words(" ".join(h.passage.text for h in hits)))
        values.append(sum(w in there for w in said) / len(said))
        examples.append(Example(each.example_id, each.input, each.target, each.group))
    return _score("groundedness", values, examples)


def abstention(model: Model, examples: Sequence[Example], *, seed: int = 0) -> Score:
    """The share of questions that are left unanswered when the passages that hold their answer are
    taken away: the model abstains, or says what no remaining passage bears out.

    At most `MOST_TAKEN` examples, the first ones.
    """
    knowledge = model.adaptation.knowledge
    assert knowledge is not None
    asked = list(examples[:MOST_TAKEN])
    k = knowledge.search.k
    wide = replace(knowledge, search=replace(knowledge.search, k=k + DEPTH))
    left = [
        [h for h in hits if not _holds(h.passage, e) and not relevant(h.passage, e)][:k]
        for e, hits in zip(asked, search_knowledge(wide, [e.text for e in asked]), strict=True)
    ]
    shown = [
        replace(e, context=joined(model, hits, own=e.context))
        for e, hits in zip(asked, left, strict=True)
    ]
    prompt = with_citation_request(model.adaptation.prompt, knowledge)
    answers = model.adapt(prompt=prompt, knowledge=None).answer(shown, seed=seed)
    silent = [
        float(not check_citations(a.text, hits).supported)
        for a, hits in zip(answers, left, strict=True)
    ]
    return _score("abstention", silent, asked)


def look_up_seconds(model: Model, questions: Sequence[str]) -> tuple[float, float | None]:
    """Median seconds of a look-up of one question, and of the embedding within it (None where the
    search embeds nothing). Not remembered ones: each question is looked up anew."""
    knowledge = model.adaptation.knowledge
    assert knowledge is not None
    held, whole, embedding = cached_index(knowledge), [], []
    embeds = knowledge.search.mode != "lexical"
    for question in questions:
        clear_cache(knowledge)
        before = held.search_seconds
        search_knowledge(knowledge, [question])
        whole.append(held.search_seconds - before)
        if embeds:
            began = time.perf_counter()
            held.embedder.embed([question])
            embedding.append(time.perf_counter() - began)
    return median(whole), median(embedding) if embedding else None


def knowledge_scores(
    model: Model, examples: Sequence[Example], sample_scores: Sequence[SampleScore]
) -> tuple[Score, ...]:
    """What is worth knowing of a model with knowledge beside its answers: its search and how much
    of what it says it was told."""
    knowledge = model.adaptation.knowledge
    if knowledge is None:
        return ()
    labels = bool(model.adaptation.decoding.labels)
    scores: tuple[Score, ...] = ()
    usable = judgeable(examples, labels=labels)
    if usable:
        scores += search_scores(knowledge, usable)
    if labels:
        return scores
    return (*scores, groundedness(model, sample_scores), abstention(model, examples))


def _score(metric: str, values: Sequence[float], examples: Sequence[Example]) -> Score:
    if not values:
        return Score(metric, None)
    sample_scores = [
        SampleScore(e.id, e.text, e.target, "", None, True, value, e.group)
        for e, value in zip(examples, values, strict=True)
    ]
    return aggregate_samples(sample_scores, replace(TOKEN_F1, metric=metric))


def _holds(passage: Passage, example: Example) -> bool:
    answer = normalised(example.target)
    return bool(answer) and f" {answer} " in f" {normalised(passage.text)} "


def _is_part(text: str, evidence: str) -> bool:
    if text in evidence or evidence in text:
        return bool(text)
    a, b = _grams(text), _grams(evidence)
    return bool(a and b) and len(a & b) >= PART * min(len(a), len(b))


def _grams(text: str) -> set[tuple[str, ...]]:
    words = text.split()
    return {tuple(words[i : i + GRAM]) for i in range(len(words) - GRAM + 1)}


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())
