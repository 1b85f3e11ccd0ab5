"""The output of the commands: data on stdout, everything else on stderr."""

from __future__ import annotations

import errno
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.errors import LuthierError, StorageError
from luthier.redaction import redact, without_secrets
from luthier.safety.visible import visible

if TYPE_CHECKING:
    from rich.console import Console


def talk() -> Console:
    """The console on stderr."""
    return _console(stderr=True)


def data() -> Console:
    """The console on stdout; lines are 140 columns wide where it is no terminal."""
    return _console(width=None if sys.stdout.isatty() else 140)


def _console(**options: Any) -> Console:
    """A console that shows no key, and nothing that a terminal would obey."""
    from rich.console import Console
    from rich.segment import Segment

    class SafeConsole(Console):
        def render(self, renderable: Any, options: Any = None) -> Iterator[Segment]:
            for part in super().render(renderable, options):
                yield part if part.control else part._replace(text=visible(redact(part.text)))

    return SafeConsole(highlight=False, **options)


def say(text: str) -> None:
    """A line on stdout, without keys and without what a terminal would obey."""
    sys.stdout.write(visible(without_secrets(text)) + "\n")
    sys.stdout.flush()


def print_json(value: Any) -> None:
    """One JSON object on stdout, in ASCII, so that no terminal's encoding can break it."""
    sys.stdout.write(without_secrets(json.dumps(value, indent=2, allow_nan=False)) + "\n")
    sys.stdout.flush()


@contextmanager
def only_data_on_stdout() -> Iterator[None]:
    """Send to stderr whatever libraries print inside."""
    with redirect_stdout(sys.stderr):
        yield


def show_error(error: LuthierError) -> None:
    """An error in its three parts: what was wrong, what the choices are, what to do next."""
    from rich.text import Text

    console = talk()
    console.print(Text.assemble(("error: ", "bold red"), error.problem), soft_wrap=True)
    if error.choices:
        console.print(Text(f"  choices: {', '.join(error.choices)}"), soft_wrap=True)
    if error.next_step:
        console.print(Text(f"  next: {error.next_step}"), soft_wrap=True)


def show_unexpected(error: BaseException) -> None:
    """An unexpected error in one line, with the file that has the traceback; with LUTHIER_DEBUG=1
    the traceback itself."""
    if os.environ.get("LUTHIER_DEBUG"):
        sys.stderr.write(redact("".join(traceback.format_exception(error))))
        return
    lines = str(error).strip().splitlines()
    summary = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    path = _write_log(error)
    where = f"The details are in {path}; " if path else ""
    show_error(
        LuthierError(
            f"something went wrong that should not ({summary})",
            next_step=f"{where}LUTHIER_DEBUG=1 shows them here. Please report it.",
        )
    )


def as_storage_error(error: OSError) -> StorageError | None:
    """A full disk as an error with a next step; None for any other error."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    place = f" that holds {error.filename}" if error.filename else ""
    return StorageError(
        f"The disk{place} is full",
        next_step="Free some space and run the same command again: what finished is kept.",
    )


def _write_log(error: BaseException) -> Path | None:
    from luthier.ledger.cache import default_cache_path

    name = f"luthier-{datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}.log"
    text = redact(f"{sys.argv}\n{''.join(traceback.format_exception(error))}")
    for folder in (default_cache_path().parent / "logs", Path(tempfile.gettempdir())):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, "utf-8", errors="replace")
        except OSError:
            continue
        return folder / name
    return None
