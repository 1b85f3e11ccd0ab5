"""What a task is made of."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from luthier.content import Input, ToolCall, text_of


class Kind(StrEnum):
    """What a task asks for."""

    CLASSIFY = "classify"
    GENERATE = "generate"
    EXTRACT = "extract"
    QUESTION_ANSWERING = "question-answering"
    CHAT = "chat"
    IMAGE = "image"


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled item. `group` keeps related items on one side of a split.

    `input` is a text, parts (text and pictures) or the turns of a conversation; `text` is what it
    says in words. `context` is a passage that is shown with the input. `evidence` is the passage of
    the task's documents that holds the answer: no model sees it, it tells whether a search found
    it. `rejected` is an answer that was found worse than the target; with an empty target, an
    answer that was found bad.
    `calls` are the calls of tools that lead to the answer, () where none is needed, None where
    nobody wrote them down. `picture` is the path of a picture that shows what the input asks for.
    """

    id: str
    input: Input
    target: str
    group: str | None = None
    context: str | None = None
    evidence: str | None = None
    rejected: str | None = None
    calls: tuple[ToolCall, ...] | None = None
    picture: str | None = None

    @property
    def text(self) -> str:
        """The input as text, its pictures left out."""
        return text_of(self.input)


@dataclass(frozen=True, slots=True)
class Recording:
    """One sound file of a task, and what was heard in it: the input of its example.

    `example_id` is None where nothing was understood and the row was left out; `fault` says why.
    `word_errors` of `given_words` words of the `given` transcript were heard wrongly; None where no
    transcript is given. `split` is the part of the data that the example belongs to.
    """

    file: str
    transcript: str
    seconds: float | None = None
    example_id: str | None = None
    split: str | None = None
    given: str | None = None
    word_errors: int | None = None
    given_words: int | None = None
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Transcripts:
    """All recordings of a task, and the name of what transcribed them."""

    transcriber: str
    recordings: tuple[Recording, ...]

    @property
    def seconds(self) -> float:
        """The length of all recordings that could be read."""
        return sum(recording.seconds or 0.0 for recording in self.recordings)

    @property
    def word_error_rate(self) -> float | None:
        """Word errors over the words of all given transcripts, None where none is given."""
        known = [r for r in self.recordings if r.word_errors is not None]
        said = sum(r.given_words or 0 for r in known)
        return sum(r.word_errors or 0 for r in known) / said if said else None

    def to_json(self) -> dict[str, Any]:
        """The transcripts in figures, as `luthier compare --json` prints them."""
        return {
            "transcriber": self.transcriber,
            "recordings": len(self.recordings),
            "without_transcript": sum(r.fault is not None for r in self.recordings),
            "seconds": self.seconds,
            "word_error_rate": self.word_error_rate,
        }
