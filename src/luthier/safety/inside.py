"""A name out of a file, inside a folder: never outside of it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

from luthier.errors import StorageError


def inside(folder: Path, name: str, *, found_in: str) -> Path:
    """The path of `name` in `folder`. `found_in` is the file that gives the name.

    StorageError for a name that leads out of the folder, or to the folder itself: a whole path, one
    with "..", one through a link that points elsewhere.
    """
    parts = PurePosixPath(name).parts
    bad = (
        not parts
        or ".." in parts
        or "\\" in name
        or "\0" in name
        or PurePosixPath(name).is_absolute()
        or PureWindowsPath(name).drive != ""
    )
    if not bad:
        path = folder.joinpath(*parts)
        if path.parent.resolve().is_relative_to(folder.resolve()):
            return path
    raise _leads_out(folder, name, found_in)


def inside_by_name(folder: Path, name: str, *, found_in: str) -> Path:
    """The path of a file or folder directly in `folder`; StorageError as `inside`."""
    if len(PurePosixPath(name).parts) != 1:
        raise _leads_out(folder, name, found_in)
    return inside(folder, name, found_in=found_in)


def _leads_out(folder: Path, name: str, found_in: str) -> StorageError:
    return StorageError(
        f"{found_in} names {name!r}, which is no place inside {folder}",
        next_step="It was changed by hand, or made to do harm: use another copy.",
    )
