"""The documents that an index could not take in, kept beside it: later uses of the index name them
as well."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

FILE = "unread.json"


def write_unread(folder: Path, documents: Sequence[str]) -> None:
    """Keep the unread documents, each "name: reason.", in the folder of an index."""
    (folder / FILE).write_text(json.dumps(list(documents)), "utf-8")


def read_unread(folder: Path) -> tuple[str, ...]:
    """The unread documents of an index; none where none were kept."""
    path = folder / FILE
    return tuple(json.loads(path.read_text("utf-8"))) if path.is_file() else ()
