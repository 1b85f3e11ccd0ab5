"""One process at a time in a folder. The lock ends with its process, however that ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from luthier.errors import StorageError, UserError
from luthier.ledger.storage_errors import storage_error


@contextmanager
def folder_lock(folder: Path, *, option: str = "--out") -> Iterator[None]:
    """Lock the folder. StorageError, with the number of the other process, when it is locked
    already; UserError where it is a file.

    `option` is the command-line option that names another folder.
    """
    try:
        import fcntl
    except ImportError:  # Windows: SQLite's own locks still keep the ledger whole
        yield
        return
    if folder.exists() and not folder.is_dir():
        raise UserError(
            f"{option} {folder} is a file, not a folder", next_step=f"Choose another {option}."
        )
    path = folder / ".lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise storage_error(folder, error, option=option) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            raise StorageError(
                f"{folder} is in use by another luthier (process {owner})",
                next_step=f"Wait for it to end, or choose another {option} folder.",
            ) from None
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        yield
