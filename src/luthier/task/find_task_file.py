"""Which task file a name or a path means."""

from __future__ import annotations

from pathlib import Path

from luthier.errors import TaskError, did_you_mean_file
from luthier.task.bundled import bundled_file, bundled_names
from luthier.task.key_reader import MINIMAL_FILE
from luthier.task.reading.formats import FORMATS
from luthier.task.task_file import SUFFIXES


def find_task_file(name: str | Path) -> Path:
    """The task file that a name or a path means.

    TaskError, with the tasks there are, where it means none.
    """
    bundled = bundled_names()
    path = Path(name)
    try:
        is_file, is_folder = path.is_file(), path.is_dir()
    except (OSError, ValueError) as error:
        raise TaskError(
            f"cannot read {str(name)!r}: {error}",
            choices=bundled,
            next_step="Give the path of a task file, or one of the bundled names.",
        ) from error
    if str(name) in bundled and not is_file:
        return bundled_file(str(name))
    if is_folder:
        inside = sorted(p.name for p in path.iterdir() if p.suffix.lower() in SUFFIXES)[:20]
        raise TaskError(
            f"{str(name)!r} is a folder, not a task file",
            choices=inside or bundled,
            next_step="Name a task file in it." if inside else _how_to_begin("rows.csv"),
        )
    if path.suffix.lower() in FORMATS:
        raise TaskError(
            f"{str(name)!r} is a data file, and a task needs to know what to do with it",
            next_step=_how_to_begin(path.name),
        )
    if is_file and path.suffix.lower() in SUFFIXES:
        return path
    if is_file:
        raise TaskError(
            f"{str(name)!r} is not a task file: its suffix is {path.suffix or 'missing'}",
            choices=SUFFIXES,
            next_step="Rename it to end in .yaml.",
        )
    folder = path.parent
    beside = (
        sorted(str(folder / p.name) for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
        if folder.is_dir()
        else []
    )
    choices = (*bundled, *beside[:20])
    raise TaskError(
        f"there is no task {str(name)!r}: no bundled one of that name, and no such file",
        choices=choices,
        next_step=did_you_mean_file(str(name), choices)
        or "Check the path, which counts from the folder you are in; luthier tasks names the "
        "bundled ones, with the file of each to copy and change.",
    )


def _how_to_begin(data: str) -> str:
    return "Write a task file, for instance task.yaml, and name that:\n" + MINIMAL_FILE.format(
        data=data
    )
