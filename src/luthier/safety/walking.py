"""The files below a folder, or that a glob names. Every walk ends: a link may lead back up, and a
folder is entered once."""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from luthier.errors import TaskError

MOST_FILES = 1_000_000


def fixed_path(pattern: str) -> Path:
    """The part of a glob before its first magic."""
    fixed = Path(pattern)
    while glob.has_magic(str(fixed)):
        fixed = fixed.parent
    return fixed


def walk(folder: str | Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """(path relative to the folder, entry) of everything below it but folders, hidden or not.

    Links to folders are followed, and no folder is entered twice. TaskError beyond a million files.
    """
    pending, seen, count = [("", str(folder))], set(), 0
    while pending:
        below, place = pending.pop()
        try:
            known = os.stat(place)  # noqa: PTH116 - Path is slow for tens of thousands
            if (known.st_dev, known.st_ino) in seen:
                continue
            seen.add((known.st_dev, known.st_ino))
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            try:
                is_folder = entry.is_dir()
            except OSError:
                continue
            if is_folder:
                pending.append((f"{below}{entry.name}/", entry.path))
                continue
            count += 1
            if count > MOST_FILES:
                raise TaskError(
                    f"{folder} holds more than {MOST_FILES:,} files",
                    next_step="Name the folders that are meant.",
                )
            yield f"{below}{entry.name}", entry


def matching(pattern: str) -> Iterator[str]:
    """The paths that a glob names, as `glob` with `recursive` finds them, folders left out.

    Hidden files and folders match only where the pattern says so.
    """
    if "**" not in pattern:
        yield from (p for p in sorted(glob.glob(pattern)) if not os.path.isdir(p))  # noqa: PTH112, PTH207
        return
    base = fixed_path(pattern)
    parts = Path(pattern).parts[len(base.parts) :]
    hidden = any(part.startswith(".") for part in parts)
    for relative, _ in walk(base):
        names = relative.split("/")
        if (hidden or not any(name.startswith(".") for name in names)) and _fits(names, parts):
            yield str(base / relative)


def _fits(names: Sequence[str], parts: Sequence[str]) -> bool:
    """Whether the names of a path fit the parts of a glob; "**" is any number of names."""
    states = _with_empty({0}, parts)
    for name in names:
        after = {i for i in states if i < len(parts) and parts[i] == "**"}
        after |= {
            i + 1
            for i in states
            if i < len(parts) and parts[i] != "**" and fnmatch.fnmatchcase(name, parts[i])
        }
        states = _with_empty(after, parts)
    return len(parts) in states


def _with_empty(states: set[int], parts: Sequence[str]) -> set[int]:
    """The states, and those that a "**" that matches nothing leads to."""
    for i, part in enumerate(parts):
        if part == "**" and i in states:
            states.add(i + 1)
    return states
