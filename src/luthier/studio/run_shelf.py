"""The runs that the studio shows: those that are served, and those in a folder of runs."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from dataclasses import dataclass
from pathlib import Path

from fastapi import HTTPException

from luthier.compare.assemble import load_comparison
from luthier.compare.comparison import Comparison
from luthier.errors import LuthierError
from luthier.ledger.run_ledger import LEDGER_FILE, Launch, Ledger
from luthier.probe.findings import Findings
from luthier.probe.saved_findings import kept_findings
from luthier.serving.served_models import ServedModels


@dataclass(frozen=True, slots=True)
class ShelvedRun:
    """A run folder under its name. `comparison` is None where `fault` says why it cannot be read;
    `process` is the number of the process that works in it now, and `launch` says how the
    comparison was started, where that was kept."""

    name: str
    folder: Path
    comparison: Comparison | None
    fault: str = ""
    process: int | None = None
    launch: Launch | None = None

    @property
    def planned(self) -> int:
        """How many runs its plan has."""
        if self.comparison is None:
            return 0
        return sum(len(planned.seeds) for planned in self.comparison.plan.to_run)

    @property
    def ended(self) -> int:
        """How many of them have ended."""
        if self.comparison is None:
            return 0
        waiting = ("planned", "stopped")
        return sum(
            run.status not in waiting
            for result in self.comparison.results
            if result.part_of is None
            for run in result.runs
        )

    @property
    def going_on(self) -> bool:
        """Whether a process works in it."""
        return self.process is not None


class RunShelf:
    """Finds runs by name and reads them; what was read is kept until the ledger changes."""

    def __init__(self, served: ServedModels, runs: Path | None = None) -> None:
        self.served, self.runs = served, None if runs is None else runs.resolve()
        self._read: dict[Path, tuple[tuple[int, ...], Comparison, Launch | None]] = {}
        self._lock = threading.Lock()

    def folders(self) -> dict[str, Path]:
        """All run folders by name; a name that two have gets a number."""
        found: dict[Path, None] = {}
        for model in self.served.all():
            if model.folder is not None:
                parent = model.folder.resolve().parent
                if (parent / LEDGER_FILE).is_file():
                    found[parent] = None
        if self.runs is not None:
            inside = (self.runs, *sorted(self.runs.iterdir())) if self.runs.is_dir() else ()
            for folder in inside:
                if (folder / LEDGER_FILE).is_file():
                    found[folder] = None
        names: dict[str, Path] = {}
        for folder in found:
            name, number = folder.name, 2
            while name in names:
                name, number = f"{folder.name}-{number}", number + 1
            names[name] = folder
        return names

    def all(self) -> list[ShelvedRun]:
        """Every run, the one that was written last first."""
        runs = [self._shelved(name, folder) for name, folder in self.folders().items()]
        return sorted(runs, key=lambda run: -_written(run.folder))

    def probes(self) -> list[tuple[Path, Findings]]:
        """The findings of probes that are kept in the folder of runs, the newest first."""
        return [] if self.runs is None else list(kept_findings(self.runs))

    def get(self, name: str) -> ShelvedRun:
        """A run by its name. HTTPException 404 where there is none."""
        folder = self.folders().get(name)
        if folder is None:
            raise HTTPException(404, f"there is no run {name!r}")
        return self._shelved(name, folder)

    def comparison(self, name: str) -> Comparison:
        """The comparison of a run. HTTPException 404 where there is none that can be read."""
        run = self.get(name)
        if run.comparison is None:
            raise HTTPException(404, run.fault)
        return run.comparison

    def _shelved(self, name: str, folder: Path) -> ShelvedRun:
        process = working_in(folder)
        try:
            comparison, launch = self._comparison(folder)
            return ShelvedRun(name, folder, comparison, process=process, launch=launch)
        except (LuthierError, OSError) as error:
            return ShelvedRun(name, folder, None, str(error), process)

    def _comparison(self, folder: Path) -> tuple[Comparison, Launch | None]:
        key = _state(folder)
        with self._lock:
            known = self._read.get(folder)
        if known is not None and known[0] == key:
            return known[1:]
        comparison = load_comparison(folder)
        with Ledger.to_read(folder / LEDGER_FILE) as ledger:
            launch = ledger.launch(comparison.id)
        with self._lock:
            self._read[folder] = (key, comparison, launch)
        return comparison, launch


def working_in(folder: Path) -> int | None:
    """The process that works in a run folder; None where none does."""
    try:
        import fcntl

        with (folder / ".lock").open("r", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                text = file.read().strip()
                return int(text) if text.isdigit() else None
            fcntl.flock(file, fcntl.LOCK_UN)
    except (OSError, ImportError):
        pass
    return None


def ask_to_stop(folder: Path) -> bool:
    """Ask the comparison that works in a folder to stop, as Ctrl-C does: what has ended is kept."""
    process = working_in(folder)
    if process is None or process == os.getpid():
        return False
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(process, signal.SIGINT)
        return True
    return False


def _state(folder: Path) -> tuple[int, ...]:
    """What changes whenever the ledger does: it and its log, by size and time."""
    state: list[int] = []
    for name in (LEDGER_FILE, f"{LEDGER_FILE}-wal"):
        with contextlib.suppress(OSError):
            facts = (folder / name).stat()
            state += [facts.st_mtime_ns, facts.st_size]
    return tuple(state)


def _written(folder: Path) -> int:
    return max(_state(folder)[::2], default=0)
