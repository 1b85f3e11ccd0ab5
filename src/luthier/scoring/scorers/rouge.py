"""ROUGE (Lin 2004), through `rouge-score`, without stemming."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from luthier.scoring.scorer import ScoreFunction, Scorer
from luthier.scripts import words_of


class _AnyWords:
    """Like the default tokenizer of `rouge-score` on ASCII text, and it keeps other scripts.

    The default drops them, so that every text in Greek would score 0. A character of a script
    without spaces is a word.
    """

    def tokenize(self, text: str) -> list[str]:
        return words_of(text.lower())


@lru_cache(maxsize=8)
def _rouge_scorer(kind: str) -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer([kind], tokenizer=_AnyWords())


def rouge(kind: str) -> ScoreFunction:
    """The F-measure of one ROUGE: "rouge1", "rouge2" or "rougeL"."""

    def score(prediction: str, target: str) -> float:
        return float(_rouge_scorer(kind).score(target, prediction)[kind].fmeasure)

    return score


ROUGE_1 = Scorer("rouge-1", rouge("rouge1"))
ROUGE_2 = Scorer("rouge-2", rouge("rouge2"))
ROUGE_L = Scorer("rouge-l", rouge("rougeL"))
