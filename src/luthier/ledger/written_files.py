"""Which files of a folder we wrote, and whether they are as we wrote them.

A folder that Luthier writes holds `SHA256SUMS`, in the form that `sha256sum --check` reads. It is
replaced only while it holds these files, unchanged, and nothing else.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from luthier.errors import StorageError

SUMS_FILE = "SHA256SUMS"
MOST_NAMED = 5


def write_sums(folder: Path) -> None:
    """Record the files of a folder that was just written."""
    lines = [f"{_digest(path)}  {path.relative_to(folder).as_posix()}" for path in _entries(folder)]
    (folder / SUMS_FILE).write_text("\n".join(lines) + "\n", "utf-8")


def foreign_files(folder: Path, *, contents: bool = True) -> list[str]:
    """What we did not write in a folder, each with why; empty where all of it is ours.

    With `contents` every file is read, so that an edited one is found.
    """
    sums = _read_sums(folder)
    found = []
    for path in _entries(folder):
        name = path.relative_to(folder).as_posix()
        if name not in sums:
            found.append(name)
        elif path.is_symlink() or not path.is_file():
            found.append(f"{name} (replaced)")
        elif contents and _digest(path) != sums[name]:
            found.append(f"{name} (edited)")
    return found


def check_ours(folder: Path, *, contents: bool = True) -> None:
    """StorageError where a folder that is to be replaced holds something that we did not write."""
    if folder.is_symlink() or not folder.exists():
        return
    if not folder.is_dir():
        foreign = [folder.name]
    else:
        foreign = foreign_files(folder, contents=contents)
    if foreign:
        more = f" and {len(foreign) - MOST_NAMED} more" if len(foreign) > MOST_NAMED else ""
        raise StorageError(
            f"{folder} is to be replaced, and holds what Luthier did not write: "
            f"{', '.join(foreign[:MOST_NAMED])}{more}",
            next_step="Nothing was touched. Move it to another place (or choose another folder) "
            "and run the same again: what finished is kept.",
        )


def replace_folder(new: Path, place: Path) -> None:
    """Put the folder `new` in place of `place`, which is first checked to be ours.

    A kill leaves the old one or the new one. OSError where that fails.
    """
    check_ours(place)
    old = place.with_name(f".{place.name}-{os.getpid()}-old")
    if place.is_symlink():
        place.unlink()
    elif place.exists():
        os.replace(place, old)  # a folder cannot be replaced by another in one step
    try:
        os.replace(new, place)
    except OSError:
        if old.exists():
            os.replace(old, place)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _read_sums(folder: Path) -> dict[str, str]:
    try:
        lines = (folder / SUMS_FILE).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    parts = (line.partition("  ") for line in lines)
    return {name: digest for digest, mark, name in parts if mark}


def _entries(folder: Path) -> Iterator[Path]:
    """All that is in a folder but folders and the sums themselves, in order."""
    sums = folder / SUMS_FILE
    found = (p for p in folder.rglob("*") if p != sums and (p.is_symlink() or not p.is_dir()))
    return iter(sorted(found))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
