"""Pictures that belong to the rows of a task: examples of what its inputs ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from luthier.errors import TaskError, UserError
from luthier.records import Example
from luthier.task.reading.python_function import names_function, split_function


def with_pictures(examples: Sequence[Example], *, source: str) -> list[Example]:
    """The examples with the whole path of each picture; paths count from the folder of `source`.

    TaskError for a picture that is missing, broken or too large.
    """
    from luthier.images.picture_files import open_picture

    file = split_function(source)[0] if names_function(source) else source
    folder = Path(file).parent if Path(str(file)).is_file() else Path()
    found = []
    for example in examples:
        if example.picture is None:
            found.append(example)
            continue
        path = folder / Path(example.picture).expanduser()
        try:
            open_picture(path)
        except UserError as error:
            raise TaskError(
                f"Example {example.id}: {error.problem}",
                choices=error.choices,
                next_step=error.next_step,
            ) from error
        found.append(replace(example, picture=str(path.resolve())))
    return found
