"""What an index could not take in: kept beside it, so that whoever uses it again is told too."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

NOT_INDEXED = "Not indexed: "  # then the document, and why
FILE = "notes.json"


def write_notes(folder: Path, notes: Sequence[str]) -> None:
    """Keep the notes in the folder of an index."""
    (folder / FILE).write_text(json.dumps(list(notes)), "utf-8")


def read_notes(folder: Path) -> tuple[str, ...]:
    """The notes of an index; none where none were kept."""
    path = folder / FILE
    return tuple(json.loads(path.read_text("utf-8"))) if path.is_file() else ()
