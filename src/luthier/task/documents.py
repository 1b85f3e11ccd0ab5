"""The documents behind a task's `knowledge`: which files they are, and a digest of what they say.

A source is a file, a folder, a glob, the folder of an index, an address, or "bundled:pydoc".
"""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from luthier.errors import StorageError, TaskError

BUNDLED = "bundled:"
BLOCK = 1 << 20


def check_documents(knowledge: Sequence[str]) -> None:
    """TaskError for a source that names nothing."""
    for source in knowledge:
        if "\0" in source:
            raise TaskError("a path holds a null character", next_step="Write the path again.")
        if "://" in source or source.startswith(BUNDLED):
            _bundled_name(source)
            continue
        if not any(True for _ in _files(source)):
            raise TaskError(
                f"`knowledge: {source}` names no file",
                choices=("a file", "a folder", "a glob such as docs/**/*.md", "an index"),
                next_step="A relative path counts from the folder of the task file.",
            )


def document_sources(knowledge: Sequence[str]) -> tuple[str, ...]:
    """The sources as indexing takes them; bundled documents are written out first."""
    return tuple(_written(s) if s.startswith(BUNDLED) else s for s in knowledge)


def index_among(knowledge: Sequence[str]) -> str | None:
    """The index that `knowledge` names, where it is one; None for documents."""
    if len(knowledge) != 1 or "://" in knowledge[0] or not Path(knowledge[0]).is_dir():
        return None
    from luthier.retrieval import open_index

    try:
        open_index(knowledge[0])
    except StorageError:
        return None
    return knowledge[0]


def documents_digest(knowledge: Sequence[str]) -> str:
    """SHA-256 (hex) over the names and the content of every document; "" for none.

    The same wherever the documents lie. Addresses count as they are written.
    """
    if not knowledge:
        return ""
    total = hashlib.sha256()
    for source in knowledge:
        if "://" in source:
            total.update(source.encode())
            continue
        if source.startswith(BUNDLED):
            source = _written(source)
        for path in sorted(_files(source)):
            total.update(path.name.encode("utf-8", "surrogatepass") + b"\0")
            with path.open("rb") as file:
                while block := file.read(BLOCK):
                    total.update(block)
    return total.hexdigest()


def _files(source: str) -> Iterator[Path]:
    path = Path(source)
    if path.is_file():
        yield path
    elif path.is_dir():
        yield from (p for p in path.rglob("*") if p.is_file())
    else:
        # Path.glob takes no absolute pattern.
        found = (Path(p) for p in glob.iglob(source, recursive=True))  # noqa: PTH207
        yield from (p for p in found if p.is_file())


def _bundled_name(source: str) -> str:
    name = source.removeprefix(BUNDLED)
    if source.startswith(BUNDLED) and name != "pydoc":
        raise TaskError(f"there are no bundled documents {name!r}", choices=("bundled:pydoc",))
    return name


def _written(source: str) -> str:
    from luthier.task.bundled.pydoc_documents import written

    _bundled_name(source)
    return str(written())
