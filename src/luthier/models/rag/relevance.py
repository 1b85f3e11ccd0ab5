"""Whether a passage answers a question at all, as a probability.

A reader always says something, and its words always stand in some passage: that they do tells
nothing about the question. So the words of the question are looked for around the answer. The
weights are those of a logistic regression on 287 questions of XQuAD and of the bundled questions on
Python with a passage that answers, and 400 on other matters with the best passage found for them
(decision 60, with the rates).
"""

from __future__ import annotations

import re
from math import exp
from typing import TYPE_CHECKING

from luthier.models.rag.question_terms import QuestionTerms

if TYPE_CHECKING:
    from luthier.retrieval import Passage

LEAST = 0.5  # below it, a passage does not answer
INTERCEPT, OF_PASSAGE, OF_SENTENCE, OF_NAMES = -5.18, 9.5, 3.27, -1.77
_END = re.compile(r"(?<=[.!?。！？।؟])\s+|(?<=[。！？])|\n\s*\n")
_QUESTION = re.compile(r"[^.!?。！？]*[?？؟]")
FEWEST_TERMS = 2


def relevance(question: str, passage: Passage, start: int, end: int) -> float:
    """The probability that passage.text[start:end] answers the question.

    Of a long message its questions count, or else its most fitting sentence.
    """
    return max(_of_terms(terms, passage, start, end) for terms in _asked(question))


def features(
    terms: QuestionTerms, passage: Passage, start: int, end: int
) -> tuple[float, float, float]:
    """The share of the question's telling words that the passage and its headings have, that the
    sentence around passage.text[start:end] has, and the share of its names that are missing."""
    whole = f"{passage.header}\n{passage.source}\n{passage.text}"
    sentence = sentence_at(passage.text, start, end)
    missing = len(terms.missing_names(whole)) / max(1, len(terms.names))
    return terms.coverage(whole), terms.coverage(sentence), missing


def sentence_at(text: str, start: int, end: int) -> str:
    """The sentence, or the sentences, around text[start:end]."""
    first, last = 0, len(text)
    for mark in _END.finditer(text):
        if mark.end() <= start:
            first = mark.end()
        elif mark.start() >= end:
            last = mark.start()
            break
    return text[first:last]


def _of_terms(terms: QuestionTerms, passage: Passage, start: int, end: int) -> float:
    if not terms.words:
        return LEAST  # "Why?" asks about nothing that could be missing
    in_passage, in_sentence, missing = features(terms, passage, start, end)
    log_odds = INTERCEPT + OF_PASSAGE * in_passage + OF_SENTENCE * in_sentence + OF_NAMES * missing
    return 1 / (1 + exp(-log_odds))


def _asked(question: str) -> list[QuestionTerms]:
    """The terms of each question in a text; of its sentences where it asks none."""
    whole = QuestionTerms.of(question)
    parts = _QUESTION.findall(question) or _END.split(question)
    each = [QuestionTerms.of(part) for part in parts]
    telling = [terms for terms in each if len(terms.words) >= FEWEST_TERMS]
    return telling or [whole]
