"""A judge compares two answers to one question, or rates one. Its opinion is not yet the truth:
`judge_agreement` says how often it is that of people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from luthier.errors import TaskError
from luthier.ledger.opinions import Grade


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked, with the passage to answer from."""

    text: str
    context: str | None = None


@dataclass(frozen=True, slots=True)
class JudgedPair:
    """Whether the first or the second of two answers is better, or neither (`first` None).

    `read` is the share of the judge's replies that could be read.
    """

    first: bool | None
    grade: Grade
    read: float = 1.0


class Judge(Protocol):
    """What every judge can do. `name` tells judges apart: another rubric is another judge."""

    name: str

    def compare(self, asked: Sequence[tuple[Question, str, str]]) -> list[JudgedPair]:
        """Which of two answers is better, for each question."""
        ...

    def rate(self, asked: Sequence[tuple[Question, str]]) -> list[float | None]:
        """From 0 to 1, how good each answer is; None where the judge's reply could not be read."""
        ...


class ScriptedJudge:
    """A function (question, answer) -> number, the higher the better; 0 to 1 as a rating."""

    def __init__(self, function: Callable[[str, str], float], *, name: str) -> None:
        self.function, self.name = function, name

    def compare(self, asked: Sequence[tuple[Question, str, str]]) -> list[JudgedPair]:
        """By the difference of the numbers: from 0.5 on significant, from 0.25 on better."""
        found = []
        for question, first, second in asked:
            gap = self._value(question, first) - self._value(question, second)
            if gap == 0:
                found.append(JudgedPair(None, "unsure"))
                continue
            size = abs(gap)
            grade: Grade = (
                "significantly" if size >= 0.5 else "better" if size >= 0.25 else "slightly"
            )
            found.append(JudgedPair(gap > 0, grade))
        return found

    def rate(self, asked: Sequence[tuple[Question, str]]) -> list[float | None]:
        """The numbers, cut to 0 and 1."""
        return [min(1.0, max(0.0, self._value(question, answer))) for question, answer in asked]

    def _value(self, question: Question, answer: str) -> float:
        try:
            value = float(self.function(question.text, answer))
        except Exception as error:
            raise TaskError(
                f"The judge {self.name} failed with {type(error).__name__}: {error} "
                f"(question {question.text[:60]!r}, answer {answer[:60]!r})",
                next_step="It must take (question, answer) and return one number.",
            ) from error
        if value != value or abs(value) == float("inf"):
            raise TaskError(
                f"The judge {self.name} returned {value} (answer {answer[:60]!r})",
                next_step="It must return a finite number for every answer.",
            )
        return value
