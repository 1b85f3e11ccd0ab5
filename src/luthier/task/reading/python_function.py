"""Functions of the user's own, named "path/to/file.py:function" in a task file."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

from luthier.errors import TaskError, did_you_mean


def names_function(source: str) -> bool:
    """Whether a source has the form "path/to/file.py:function"."""
    file, colon, name = source.rpartition(":")
    return bool(colon) and file.endswith(".py") and name.isidentifier()


def split_function(source: str) -> tuple[Path, str]:
    """The file and the name in "path/to/file.py:function"."""
    file, _, name = source.rpartition(":")
    return Path(file).expanduser(), name


def load_function(source: str) -> Any:
    """The function that "path/to/file.py:function" names.

    The file is run: whoever reads its name out of a file asks `safety.user_code` first. TaskError
    where there is no such file
    or function, or the file fails.
    """
    file, name = split_function(source)
    if not file.is_file():
        raise TaskError(
            f"there is no file {file}",
            next_step="A relative path counts from the folder of the task file (from the working "
            "folder where no task file names it).",
        )
    spec = importlib.util.spec_from_file_location(f"_luthier_user_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise TaskError(f"{file} cannot be imported", next_step="Name a Python file.")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pickling look their module up by name.
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise TaskError(
            f"{file.name} failed on import: {type(error).__name__}: {error}",
            next_step=f"Run `python {file}` and mend it.",
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        names = sorted(n for n, v in vars(module).items() if callable(v) and not n.startswith("_"))
        raise TaskError(
            f"{file.name} has no function {name!r}",
            choices=names,
            next_step=did_you_mean(name, names) or "Name one of its functions after the colon.",
        )
    return function
