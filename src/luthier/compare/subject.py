"""What was compared: the task, without its data, and the bases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from luthier.ledger.row_reading import read_row
from luthier.models.backend import ModelFacts
from luthier.records import Transcripts


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """The task, without its data. `leaks` is the leak report as plain dicts and lists.

    `chance` is the share of the commonest label in the test split, None where there are no labels.
    `input_column` and `passage_column` are what the data calls the input and the passage; None
    where that was not recorded, or there is no passage.
    `transcripts` are those of the recordings, where the inputs were sound files.
    """

    name: str
    kind: str
    fingerprint: str
    instruction: str
    labels: tuple[str, ...]
    metric: str
    train_examples: int
    dev_examples: int
    test_examples: int
    chance: float | None = None
    leaks: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    input_column: str | None = None
    passage_column: str | None = None
    transcripts: Transcripts | None = None


@dataclass(frozen=True, slots=True)
class BaseFacts:
    """A base model that techniques started from. `name` is that of its backend, `short` the one in
    the table; `precision` is the number format of its matrix products, where it is known."""

    name: str
    fingerprint: str
    facts: ModelFacts
    capabilities: tuple[str, ...]
    precision: str | None = None
    short: str = ""


def stored_bases(text: str) -> tuple[BaseFacts, ...]:
    """The bases as the ledger keeps them; one that was kept alone is read too."""
    if text.lstrip().startswith("[") and text.strip() != "[]":  # there is always one
        return read_row(tuple[BaseFacts, ...], text, row="the bases of a comparison")
    return (read_row(BaseFacts, text, row="the base of a comparison"),)
