"""Recordings and what was heard in them, for tasks whose inputs are sound files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

from luthier.compare.comparison import Comparison
from luthier.records import Recording
from luthier.report import amounts

MOST_SHOWN = 60
MOST_LETTERS = 1200
_ORDER = {"test": 0, "dev": 1, "train": 2, None: 3}


@dataclass(frozen=True, slots=True)
class HeardRow:
    """One recording: its name, length, part of the data, what was heard (or why nothing was), what
    was said, and the word errors."""

    name: str
    length: str
    split: str
    heard: str
    fault: str
    said: str
    errors: str


@dataclass(frozen=True, slots=True)
class HeardTable:
    """The recordings of a task; `total` counts those that are not shown as well."""

    sentence: str
    rows: tuple[HeardRow, ...]
    total: int
    has_errors: bool


def heard_table(comparison: Comparison) -> HeardTable | None:
    """The recordings, those of the test split first, then by word errors; None where inputs are no
    recordings."""
    transcripts = comparison.task.transcripts
    if transcripts is None:
        return None
    ranked = sorted(
        transcripts.recordings,
        key=lambda r: (r.fault is None, _ORDER.get(r.split, 3), -(_rate(r) or 0.0)),
    )
    rate = transcripts.word_error_rate
    words = "" if rate is None else (
        f" Of the words that were really said, {amounts.rate(rate)} were heard wrongly, left out "
        "or put in."
    )  # fmt: skip
    sentence = (
        f"{amounts.plural(len(ranked), 'recording')}, {amounts.seconds(transcripts.seconds)} in "
        f"all, transcribed by {transcripts.transcriber}.{words} The techniques read what was heard."
    )
    return HeardTable(
        sentence, tuple(map(_row, ranked[:MOST_SHOWN])), len(ranked), has_errors=rate is not None
    )


def _row(recording: Recording) -> HeardRow:
    rate = _rate(recording)
    counted = ""
    if rate is not None:
        counted = f"{recording.word_errors} of {recording.given_words}"
    return HeardRow(
        name=PurePath(recording.file).name,
        length=amounts.seconds(recording.seconds),
        split=recording.split or ("left out" if recording.fault else "a copy, left out"),
        heard=recording.transcript[:MOST_LETTERS],
        fault=recording.fault or "",
        said=(recording.given or "")[:MOST_LETTERS],
        errors=counted or amounts.UNMEASURED,
    )


def _rate(recording: Recording) -> float | None:
    if recording.word_errors is None or not recording.given_words:
        return None
    return recording.word_errors / recording.given_words
