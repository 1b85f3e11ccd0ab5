"""`luthier tasks`: the tasks that ship with Luthier."""

from __future__ import annotations

from luthier.cli.shared_options import PrintJson


def tasks(
    as_json: PrintJson = False,
) -> None:
    """The bundled tasks: their names, what they ask, and the file to copy and change."""
    from rich.padding import Padding
    from rich.text import Text

    from luthier.cli.console import data, print_json
    from luthier.task.bundled import bundled_file, bundled_names
    from luthier.task.task_file import read_task_file

    bundled = {
        name: {
            "instruction": read_task_file(bundled_file(name)).instruction,
            "file": str(bundled_file(name)),
        }
        for name in bundled_names()
    }
    if as_json:
        print_json(bundled)
        return
    console = data()
    for name, words in bundled.items():
        console.print(Text(name, "bold"))
        console.print(Padding(Text(words["instruction"]), (0, 0, 0, 2)))
        console.print(Padding(Text(words["file"], "dim"), (0, 0, 1, 2)), soft_wrap=True)
