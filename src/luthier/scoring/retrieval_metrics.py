"""How good a search is, apart from what a model makes of it.

A passage is relevant to a question when it is a part of the evidence, or contains it, and, where
the answer stands in the evidence word for word, the passage contains the answer too. Without
evidence every passage that contains the answer counts. R relevance by rank, best first, booleans.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from luthier.models.rag.lookup import search_knowledge
from luthier.records import Example, SampleScore, Score
from luthier.scoring.aggregate import aggregate_samples
from luthier.scoring.scorers.short_answers import TOKEN_F1, normalised

if TYPE_CHECKING:
    from luthier.models.adaptation import Knowledge
    from luthier.retrieval import Passage

CUTS = (1, 5, 10)
DEPTH = 10
GRAM = 3  # words; shared ones tell a part of a passage from another text on the same matter
PART = 0.5


def relevant(passage: Passage, example: Example) -> bool:
    """Whether a passage is the evidence of an example, or a part of it that still answers."""
    text, answer = normalised(passage.text), normalised(example.target)
    has_answer = contains_answer(passage, example)
    if example.evidence is None:
        return has_answer
    evidence = normalised(example.evidence)
    needs_answer = bool(answer) and f" {answer} " in f" {evidence} "
    return _is_part(text, evidence) and (has_answer or not needs_answer)


def with_known_relevance(examples: Sequence[Example], *, labels: bool) -> list[Example]:
    """The examples for which relevance is known: those with evidence, and all where the answer is
    not a label."""
    return [e for e in examples if e.evidence is not None or not labels]


def relevance(
    knowledge: Knowledge, examples: Sequence[Example], *, depth: int = DEPTH
) -> list[list[bool]]:
    """For each example, whether each of its best `depth` passages is relevant."""
    to_depth = replace(knowledge, search=replace(knowledge.search, k=depth))
    found = search_knowledge(to_depth, [e.text for e in examples])
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
    return tuple(score_of(name, values, examples) for name, values in named.items())


def score_of(metric: str, values: Sequence[float], examples: Sequence[Example]) -> Score:
    """The mean of one value for each example, with its 95 % interval; unmeasured without values."""
    if not values:
        return Score(metric, None)
    sample_scores = [
        SampleScore(e.id, e.text, e.target, "", None, True, value, e.group)
        for e, value in zip(examples, values, strict=True)
    ]
    return aggregate_samples(sample_scores, replace(TOKEN_F1, metric=metric))


def contains_answer(passage: Passage, example: Example) -> bool:
    """Whether the answer of an example stands in a passage, word for word."""
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
