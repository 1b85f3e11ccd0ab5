"""The tasks that runs were made of: a run keeps no data, so its task is looked for."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from luthier.errors import LuthierError, TaskError
from luthier.studio.run_shelf import ShelvedRun
from luthier.task.bundled import bundled_names
from luthier.task.task import Task


@dataclass(frozen=True, slots=True)
class OpenedTask:
    """A task as it was read, and the state of its files then."""

    task: Task
    state: tuple[tuple[str, int, int], ...]


class TaskShelf:
    """Finds the task of a run: among those that were named at the start, in the file that the run
    was made of, or by the name of a bundled one. Its fingerprint must be the run's."""

    def __init__(self, named: Sequence[Task] = ()) -> None:
        self._named = tuple(named)
        self._opened: dict[str, OpenedTask] = {}
        self._lock = threading.Lock()

    def of(self, run: ShelvedRun) -> Task:
        """The task of a run, its test split taken out. TaskError where it cannot be found or has
        changed."""
        assert run.comparison is not None
        facts = run.comparison.task
        changed, reason = False, ""
        for task in self._named:
            if task.fingerprint == facts.fingerprint:
                return task.without_test()
            changed |= task.name == facts.name
        for place in places_of(run):
            try:
                task = self._open(place)
            except LuthierError as error:
                reason = f"; {Path(place).name} cannot be read: {error}"
                continue
            if task.fingerprint == facts.fingerprint:
                return task.without_test()
            changed = True
        if changed:
            raise TaskError(
                f"task {facts.name!r} has changed since the run was made",
                next_step="Compare again, and open the new run; or name the task as it was with "
                "--task FILE.",
            )
        raise TaskError(
            f"the data of task {facts.name!r} is not in the run, it is no bundled task, and its "
            f"file is not where it was{reason}",
            next_step="Name its task file: luthier studio --task FILE, luthier serve --task FILE "
            "(with --allow-code, if you trust the Python that it names).",
        )

    def named_file(self, run: ShelvedRun) -> str | None:
        """The run's task file, where it is among those that were named at the start."""
        wanted = None if run.comparison is None else run.comparison.task.fingerprint
        return next((t.file for t in self._named if t.file and t.fingerprint == wanted), None)

    def _open(self, place: str) -> Task:
        """The task of a file or a name; what was read is kept until a file of it changes."""
        with self._lock:
            known = self._opened.get(place)
            if known is None or known.state != _state(known.task):
                task = Task.load(place)
                known = self._opened[place] = OpenedTask(task, _state(task))
            return known.task


def places_of(run: ShelvedRun) -> list[str]:
    """Where the task of a run may be found: the file that it remembers, and its name."""
    found: list[str] = []
    if run.launch is not None and run.launch.task_file and Path(run.launch.task_file).is_file():
        found.append(run.launch.task_file)
    if run.comparison is not None and run.comparison.task.name in bundled_names():
        found.append(run.comparison.task.name)
    return found


def _state(task: Task) -> tuple[tuple[str, int, int], ...]:
    """The files that a task was read from, with their times and sizes."""
    state = []
    for path in (*task.spec.data_files, *([Path(task.file)] if task.file else [])):
        try:
            facts = path.stat()
        except OSError:
            state.append((str(path), 0, 0))
        else:
            state.append((str(path), facts.st_mtime_ns, facts.st_size))
    return tuple(state)
