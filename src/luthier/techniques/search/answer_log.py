"""Answers of a search on disk: a search that was interrupted reads them and does not ask again.

The file holds one JSON object a line, appended as soon as the answers are there; a line that a kill
cut short is ignored. The same answers come back with the same token counts, so that a resumed
search takes the same decisions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from luthier.content import Response, Usage
from luthier.models.model import Model
from luthier.records import Example

FILE = "evaluations.jsonl"


class AnswerLog:
    """Answers by the hash of what was asked. Without a folder nothing is kept."""

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / FILE
        self._entries: dict[str, dict[str, Any]] = {}
        if self._path is not None and self._path.is_file():
            for line in self._path.read_text("utf-8").splitlines():
                try:
                    entry = json.loads(line)
                    self._entries[entry["key"]] = entry
                except (ValueError, KeyError, TypeError):
                    continue

    def find(self, key: str) -> tuple[list[Response], float] | None:
        """The answers under `key` and the seconds they took, or None."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        answers = [Response(**{**a, "usage": Usage(**a["usage"])}) for a in entry["answers"]]
        return answers, float(entry["seconds"])

    def append(self, key: str, answers: Sequence[Response], seconds: float) -> None:
        """Write answers, with the seconds they took, under `key`."""
        if self._path is None:
            return
        entry = {"key": key, "seconds": seconds, "answers": [asdict(_plain(a)) for a in answers]}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        ends_whole = not self._path.exists() or self._path.read_bytes()[-1:] in (b"", b"\n")
        with self._path.open("a", encoding="utf-8") as file:
            file.write(("" if ends_whole else "\n") + json.dumps(entry, ensure_ascii=False) + "\n")


def _plain(answer: Response) -> Response:
    """The answer without the way to it, which no search looks at."""
    return replace(answer, turns=(), tool_calls=())


def answer_key(model: Model, examples: Sequence[Example], *, seed: int) -> str:
    """A hash (SHA-256, hex) of everything that the answers depend on and a search varies."""
    adaptation = model.adaptation
    inputs = [(e.id, e.text, e.context) for e in examples]
    asked: tuple[object, ...] = (
        model.backend.fingerprint, adaptation.prompt, adaptation.decoding, inputs, seed,
    )  # fmt: skip
    if adaptation.knowledge is not None:
        asked = (*asked, adaptation.knowledge.identity)
    if adaptation.tools is not None:
        asked = (*asked, adaptation.tools)
    return hashlib.sha256(repr(asked).encode("utf-8", "surrogatepass")).hexdigest()
