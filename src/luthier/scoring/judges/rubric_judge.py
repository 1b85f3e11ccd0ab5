"""A model that judges by a rubric: every pair in both orders, ties allowed.

A model prefers what stands first, or second, for no better reason. So it is asked twice, with the
answers exchanged: where it changes its mind with the order, the pair is a tie; where it is sure in
one order alone, the better answer is slightly better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from luthier.models.adaptation import Decoding
from luthier.models.model import Model
from luthier.models.prompt import Prompt, PromptFormat
from luthier.records import Example
from luthier.scoring.judges.judge import JudgedPair, Question

CHOICES = ("A", "B", "tie")
RATINGS = ("1", "2", "3", "4", "5")
MOST_CHARACTERS = 20_000  # of an answer that a judge reads; its middle is left out


class RubricJudge:
    """A `Judge` over any model."""

    def __init__(self, model: Model, rubric: str, *, name: str) -> None:
        self.name = name
        form = PromptFormat(input_name="To judge", target_name="Verdict", list_labels=False)
        self.compares = _labelled(
            model,
            Prompt(
                instruction=f"{rubric}\n\nTwo answers to one question are given. Say which one is "
                "better by this rubric: A, B, or tie.",
                labels=CHOICES,
                format=form,
            ),
        )
        self.rates = _labelled(
            model,
            Prompt(
                instruction=f"{rubric}\n\nAn answer to a question is given. Rate it by this rubric "
                "from 1 (bad) to 5 (as good as can be).",
                labels=RATINGS,
                format=form,
            ),
        )

    def compare(self, asked: Sequence[tuple[Question, str, str]]) -> list[JudgedPair]:
        """Both orders of each pair."""
        texts = [_pair(q, a, b) for q, a, b in asked] + [_pair(q, b, a) for q, a, b in asked]
        said = _verdicts(self.compares, texts)
        there, back = said[: len(asked)], said[len(asked) :]
        return [joined(one, other) for one, other in zip(there, back, strict=True)]

    def rate(self, asked: Sequence[tuple[Question, str]]) -> list[float | None]:
        """One to five as 0 to 1."""
        texts = [f"{_question(q)}\n\nAnswer: {short(answer)}" for q, answer in asked]
        return [None if v is None else (int(v) - 1) / 4 for v in _verdicts(self.rates, texts)]


def joined(there: str | None, back: str | None) -> JudgedPair:
    """One opinion from the verdict on (first, second) and that on (second, first)."""
    votes = [{"A": 1, "B": -1}.get(there or "", 0), {"A": -1, "B": 1}.get(back or "", 0)]
    read = sum(v is not None for v in (there, back)) / 2
    total = sum(votes)
    if total == 0:
        return JudgedPair(None, "unsure", read)
    return JudgedPair(total > 0, "better" if abs(total) == 2 else "slightly", read)


def short(text: str) -> str:
    """A text without its middle where it is long."""
    if len(text) <= MOST_CHARACTERS:
        return text
    half = MOST_CHARACTERS // 2
    return f"{text[:half]} […] {text[-half:]}"


def _labelled(model: Model, prompt: Prompt) -> Model:
    """The judge answers with a label; its own prompt and tuning for another task are left out."""
    own = model.adaptation
    kept = replace(own, prompt=prompt, decoding=Decoding(labels=prompt.labels), knowledge=None)
    return Model(model.backend, kept, model.lineage)


def _verdicts(model: Model, texts: Sequence[str]) -> list[str | None]:
    examples = [Example(str(i), text, "") for i, text in enumerate(texts)]
    return [r.parsed if r.parsed in (*CHOICES, *RATINGS) else None for r in model.answer(examples)]


def _question(question: Question) -> str:
    passage = f"\nPassage: {short(question.context)}" if question.context else ""
    return f"Question: {short(question.text)}{passage}"


def _pair(question: Question, first: str, second: str) -> str:
    return f"{_question(question)}\n\nAnswer A: {short(first)}\n\nAnswer B: {short(second)}"
