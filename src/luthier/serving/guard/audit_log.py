"""Who did what, a JSON object a line: never a text that was asked or answered, never a key."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from luthier.errors import UserError


class AuditLog:
    """Appends to a file; None keeps no log."""

    def __init__(self, path: Path | None) -> None:
        self._lock = threading.Lock()
        try:
            self._stream = None if path is None else path.open("a", encoding="utf-8")
        except OSError as error:
            raise UserError(
                f"the audit log {path} cannot be written: {error.strerror}",
                next_step="Name a file in a folder that is there.",
            ) from error

    def write(self, **facts: Any) -> None:
        """Write one line."""
        if self._stream is None:
            return
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **facts}
        with self._lock:
            self._stream.write(json.dumps(line) + "\n")
            self._stream.flush()

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()
