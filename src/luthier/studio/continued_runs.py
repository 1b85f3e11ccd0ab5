"""A comparison that stopped goes on: the command that began it, in a process of its own.

The arguments are those that the ledger of the run keeps. They may have come from elsewhere, with
the folder: none of them makes the studio run Python that it was not allowed to run, and none leads
to a server that nobody named here.
"""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from luthier.errors import StorageError, UserError
from luthier.ledger.run_ledger import Launch
from luthier.redaction import redact
from luthier.safety.hosts import check_host
from luthier.studio.run_shelf import ShelvedRun, ask_to_stop

LOG_FILE = "studio.log"
ADDRESS = re.compile(r"[A-Za-z][\w+.-]*://[^\s,'\")]+")
ALLOW_CODE = "--allow-code"
SHOWN_LINES = 6


@dataclass(frozen=True, slots=True)
class StartedProcess:
    """A process, and what the ledger said of the last launch when it was started."""

    process: subprocess.Popen[bytes]
    before: Launch

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None


class ContinuedRuns:
    """The processes that this studio started, by run folder. They outlive it."""

    def __init__(self) -> None:
        self._started: dict[Path, StartedProcess] = {}
        self._lock = threading.Lock()

    def go_on(self, run: ShelvedRun, *, named_file: str | None = None) -> None:
        """Start the command of a run again. UserError where it goes on already, or where the
        ledger does not tell how; ModelError for an address that nobody named here.

        `named_file` is the run's task file where the user of the studio named it: with that one
        alone a command keeps its --allow-code.
        """
        launch = run.launch
        if launch is None or launch.arguments is None or launch.working_folder is None:
            raise UserError(
                f"how {run.name} was started is not known: it was started from Python, or by an "
                "earlier version, or its command held a key",
                next_step="The same call, or the same luthier compare, goes on from there.",
            )
        if not Path(launch.working_folder).is_dir():
            raise UserError(
                f"the folder in which {run.name} was started is gone: {launch.working_folder}",
                next_step=f"In a terminal: {command_words(run, launch)}",
            )
        with self._lock:
            if run.going_on or self.alive(run.folder):
                raise UserError(f"{run.name} goes on already", next_step="Look at its page.")
            process = start_again(run.folder, launch, named_file)
            self._started[run.folder] = StartedProcess(process, launch)

    def alive(self, folder: Path) -> bool:
        """Whether a process that was started here has not ended."""
        started = self._started.get(folder)
        return started is not None and started.alive

    def starting(self, run: ShelvedRun) -> bool:
        """Whether such a process only loads yet: the ledger tells of no launch since."""
        started = self._started.get(run.folder)
        return started is not None and started.alive and started.before == run.launch

    def stop(self, folder: Path) -> bool:
        """Ask what works in a run folder to stop, as Ctrl-C does, also where it only loads yet."""
        if ask_to_stop(folder):
            return True
        if not self.alive(folder):
            return False
        self._started[folder].process.send_signal(signal.SIGINT)
        return True

    def fault(self, folder: Path) -> str:
        """What the last process that was started here said at its end, where that was an error."""
        started = self._started.get(folder)
        code = None if started is None else started.process.poll()
        if code in (None, 0, 130, -signal.SIGINT):
            return ""
        with suppress(OSError):
            lines = (folder / LOG_FILE).read_text("utf-8", errors="replace").splitlines()
            return "\n".join(line for line in lines[-SHOWN_LINES:] if line.strip())
        return f"It ended with the exit code {code}."


def start_again(folder: Path, launch: Launch, named_file: str | None) -> subprocess.Popen[bytes]:
    """The command of a launch in a process of its own. ModelError for an address that nobody
    named here, StorageError where the folder cannot be written."""
    arguments = list(launch.arguments or ())
    if named_file is not None:
        arguments[:1] = [named_file]
    else:
        arguments = [a for a in arguments if a != ALLOW_CODE]
    for argument in arguments:
        for address in ADDRESS.findall(argument):
            check_host(
                address,
                found_in="The command that the ledger keeps",
                next_step="If you trust that server, go on in a terminal",
            )
    command = [
        sys.executable,
        "-m",
        "luthier",
        "compare",
        *arguments,
        "--out",
        str(folder.resolve()),
    ]
    try:
        # A session of its own, so that Ctrl-C in the studio's terminal ends the studio alone.
        with (folder / LOG_FILE).open("wb") as log:
            return subprocess.Popen(
                command, cwd=launch.working_folder, stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
    except OSError as error:
        raise StorageError(f"{folder} cannot be written: {error.strerror}") from error


def command_words(run: ShelvedRun, launch: Launch | None) -> str:
    """The command that goes on with a run, as it is typed; "" where it is not known."""
    if launch is None or launch.arguments is None:
        return ""
    return redact(
        shlex.join(["luthier", "compare", *launch.arguments, "--out", str(run.folder.resolve())])
    )
