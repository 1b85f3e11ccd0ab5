"""The tasks that come with Luthier.

The messages of routing and the questions of pydoc were written for it; docstrings and scenes are
made at load time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from luthier.errors import TaskError, did_you_mean

FOLDER = Path(str(files(__package__)))
# The messages are in one file, or in parts that together are the set.
ROUTING_FILES = (("routing.jsonl",), ("routing_a.jsonl", "routing_b.jsonl"))


def bundled_names() -> tuple[str, ...]:
    """The names that `Task.load` knows without a file."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


def bundled_file(name: str) -> Path:
    """The task file of a bundled task, which users can copy and change."""
    return FOLDER / f"{name}.yaml"


def bundled_rows(name: str) -> Iterator[Mapping[str, Any]]:
    """The rows behind `data: bundled:name`."""
    if name == "routing":
        return _routing()
    if name == "docstrings":
        from luthier.task.bundled.docstrings import docstring_rows

        return iter(docstring_rows())
    if name == "pydoc":
        from luthier.task.bundled.pydoc import pydoc_rows

        return pydoc_rows()
    if name.startswith("scenes-"):
        from luthier.task.bundled.scene_rows import scene_rows

        return scene_rows(name.removeprefix("scenes-"))
    names = bundled_names()
    raise TaskError(
        f"there is no bundled data {name!r}",
        choices=names,
        next_step=did_you_mean(name, names) or "Use one of the choices.",
    )


def _routing() -> Iterator[Mapping[str, Any]]:
    for parts in ROUTING_FILES:
        paths = [FOLDER / part for part in parts]
        if all(path.is_file() for path in paths):
            for path in paths:
                for line in path.read_text("utf-8").splitlines():
                    if line.strip():
                        yield json.loads(line)
            return
    raise TaskError(
        f"the bundled routing messages are missing from {FOLDER}",
        next_step="Install Luthier again.",
    )
