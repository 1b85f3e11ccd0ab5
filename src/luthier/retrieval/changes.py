"""Which documents of an index are unchanged, gone, or of sources that were not named this time?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from luthier.errors import TaskError
from luthier.retrieval.index_store import StoredDocument
from luthier.retrieval.ingest.sources import Found, fixed, root_of

RACY_NS = 2_000_000_000  # the coarsest clock of a file system in use (FAT)


def untouched(found: Found, held: StoredDocument) -> bool:
    """Whether a file can be taken for unchanged without being read.

    As git does for its index: size and times are those of when it was read, and it had not been
    changed in the same tick of the file system's clock, after which they would not tell an edit.
    """
    size, changed, recorded, read = held.stamp
    if not read or (size, changed, recorded) != found.stat:
        return False
    return max(changed, recorded) < read - RACY_NS


def left_over(
    found: Sequence[Found], held: Mapping[str, StoredDocument], *, replace: bool
) -> tuple[list[str], list[str]]:
    """Documents held and not found: those that are gone, and those of other sources, which stay.

    A document is gone when the source it was found by is named again and does not have it, or when
    that source has moved: its folder is no more, and one of the same name is named now.
    """
    names = {f.name for f in found}
    origins = {f.origin for f in found}
    roots = {root_of(o) for o in origins}
    gone: list[str] = []
    kept: list[str] = []
    there: dict[str, bool] = {"": False}
    for name, document in held.items():
        if name in names:
            continue
        origin = document.origin
        if origin not in there:
            there[origin] = _is_there(origin)
        moved = not there[origin] and name.split("/")[0] in roots
        # A file that was named itself, and deleted since.
        named = bool(origin) and name == root_of(origin)
        deleted = named and not there[origin] and Path(origin).parent.is_dir()
        (gone if replace or origin in origins or moved or deleted else kept).append(name)
    return gone, kept


def check_names(found: Sequence[Found], held: Mapping[str, StoredDocument]) -> None:
    """TaskError where a document would take the place of one of another folder by its name."""
    for one in found:
        before = held.get(one.name)
        if before is None or before.origin in ("", one.origin):
            continue
        if fixed(before.origin) != fixed(one.origin) and _is_there(before.origin):
            raise TaskError(
                f"The index holds a document called {one.name!r} of {before.origin}; the one of "
                f"{one.origin} would take its place",
                next_step="Give one of the folders another name, name a folder that holds both, or "
                "drop what the index holds: --replace.",
            )


def _is_there(origin: str) -> bool:
    return "://" in origin or Path(fixed(origin)).exists()
