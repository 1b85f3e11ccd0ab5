"""What the disk and SQLite report, as an error that a user can act on."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from luthier.errors import StorageError

BUSY_SECONDS = 10.0  # how long SQLite waits for another process


def storage_error(path: Path, error: Exception, *, option: str = "--out") -> StorageError:
    """The StorageError for an error of SQLite or of the file system at `path`.

    `option` is the command-line option that names another folder.
    """
    message = str(error).lower()
    if "locked" in message or "busy" in message:
        return StorageError(
            f"{path} has been locked by another process for {BUSY_SECONDS:.0f} s",
            next_step=f"Wait for the other luthier to end, or choose another {option} folder.",
        )
    if "full" in message or "no space" in message:
        return StorageError(
            f"The disk that holds {path} is full",
            next_step="Free some space and run the same command again: what finished is kept.",
        )
    if any(word in message for word in ("readonly", "read-only", "permission", "unable to open")):
        return StorageError(
            f"{path} cannot be written ({error})",
            next_step=f"Choose a folder you may write to with {option}.",
        )
    if "not a database" in message or "malformed" in message:
        return StorageError(
            f"{path} is no ledger, or is damaged ({error})",
            next_step=f"Move it away, or choose another {option} folder. Folders of techniques "
            "beside it open by themselves: luthier ask FOLDER/TECHNIQUE.",
        )
    reason = getattr(error, "strerror", None) or error  # an OSError's text names the path again
    return StorageError(f"{path}: {reason}", next_step=f"Choose another {option} folder.")


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn errors of SQLite and of the file system into StorageError."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise storage_error(path, error) from error
