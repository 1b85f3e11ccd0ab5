"""Edited prompts of a run with their notes and dev scores: one JSON line a version."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from luthier.ledger.provenance import now
from luthier.models.prompt import Prompt
from luthier.serialization import from_plain, to_plain

FILE = "prompts.jsonl"


@dataclass(frozen=True, slots=True)
class DevDifference:
    """An edited prompt against the one it came from, on the same dev examples; the interval is at
    95 %."""

    before: float | None
    after: float | None
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    examples: int
    metric: str


@dataclass(frozen=True, slots=True)
class PromptVersion:
    """One edited prompt of a technique's model."""

    number: int
    model: str
    prompt: Prompt
    note: str
    difference: DevDifference | None
    time: str


class PromptVersions:
    """The versions of one run folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE

    def all(self) -> list[PromptVersion]:
        """Every version, the newest first; a line that is damaged is left out."""
        if not self.path.is_file():
            return []
        found = []
        for line in self.path.read_text("utf-8").splitlines():
            try:
                found.append(_version(json.loads(line)))
            except (ValueError, KeyError, TypeError):
                continue
        return found[::-1]

    def get(self, number: int) -> PromptVersion | None:
        """A version by its number."""
        return next((v for v in self.all() if v.number == number), None)

    def add(
        self, model: str, prompt: Prompt, *, note: str, difference: DevDifference | None
    ) -> PromptVersion:
        """Keep a prompt; it is on the disk when this returns."""
        number = 1 + max((v.number for v in self.all()), default=0)
        version = PromptVersion(number, model, prompt, note, difference, now())
        line = asdict(version) | {"prompt": to_plain(prompt)}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        return version


def _version(line: dict[str, object]) -> PromptVersion:
    difference = line["difference"]
    return PromptVersion(
        number=int(str(line["number"])),
        model=str(line["model"]),
        prompt=from_plain(Prompt, line["prompt"]),
        note=str(line["note"]),
        difference=None if difference is None else from_plain(DevDifference, difference),
        time=str(line["time"]),
    )
