"""Which documents of an index are unchanged, removed, or of sources that were not named?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from luthier.errors import TaskError
from luthier.retrieval.index_store import StoredDocument
from luthier.retrieval.ingest.sources import SourceFile, fixed_part, root_of

RACY_NS = 2_000_000_000  # the coarsest clock of a file system in use (FAT)


def is_unchanged(file: SourceFile, stored: StoredDocument) -> bool:
    """Whether a file can be taken for unchanged without being read.

    As git does for its index, it compares size and times with those of when the file was read. A
    file that was changed in the same tick of the file system's clock is read again, since its times
    would not show an edit.
    """
    size, changed, recorded, read = stored.stamp
    if not read or (size, changed, recorded) != file.stat:
        return False
    return max(changed, recorded) < read - RACY_NS


def removed_and_kept(
    files: Sequence[SourceFile], stored: Mapping[str, StoredDocument], *, replace: bool
) -> tuple[list[str], list[str]]:
    """The stored documents that are not among the files: those to remove, and those to keep.

    A document is removed when the source that led to it is named again and does not have it, or
    when that source has moved: its folder no longer exists, and one of the same name is named now.
    With `replace` every document that is not among the files is removed.
    """
    names = {f.name for f in files}
    origins = {f.origin for f in files}
    roots = {root_of(o) for o in origins}
    removed: list[str] = []
    kept: list[str] = []
    exists: dict[str, bool] = {"": False}
    for name, document in stored.items():
        if name in names:
            continue
        origin = document.origin
        if origin not in exists:
            exists[origin] = _exists(origin)
        moved = not exists[origin] and name.split("/")[0] in roots
        # A file that was named itself, and deleted since.
        named = bool(origin) and name == root_of(origin)
        deleted = named and not exists[origin] and Path(origin).parent.is_dir()
        (removed if replace or origin in origins or moved or deleted else kept).append(name)
    return removed, kept


def check_names(files: Sequence[SourceFile], stored: Mapping[str, StoredDocument]) -> None:
    """TaskError where a file would replace a document of another folder with the same name."""
    for file in files:
        before = stored.get(file.name)
        if before is None or before.origin in ("", file.origin):
            continue
        if fixed_part(before.origin) != fixed_part(file.origin) and _exists(before.origin):
            raise TaskError(
                f"The index holds a document called {file.name!r} of {before.origin}; the one of "
                f"{file.origin} would take its place",
                next_step="Give one of the folders another name, name a folder that holds both, or "
                "drop what the index holds: --replace.",
            )


def _exists(origin: str) -> bool:
    return "://" in origin or Path(fixed_part(origin)).exists()
