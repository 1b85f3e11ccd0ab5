"""What was answered so far, one JSON object a line, so that a killed prediction goes on.

The first line says what is predicted; a journal of anything else is not gone on with. Lines are
written to the disk after each chunk, and a line that a kill cut short is forgotten.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

Answer = dict[str, Any]


class PredictionJournal:
    """The answers by row number, in a file beside the output. Use it as a context manager."""

    def __init__(self, path: Path, identity: str) -> None:
        """`identity` tells one prediction from another: the rows, the model and the columns."""
        self.path = path
        self.answers: dict[int, Answer] = {}
        whole = self._read(identity)
        self._stream = path.open("r+b" if whole else "wb")
        self._stream.truncate(whole)
        self._stream.seek(whole)
        if not whole:
            self._write([{"identity": identity}])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._stream.close()

    def add(self, answers: dict[int, Answer]) -> None:
        """Keep the answers of some rows; they are on the disk when this returns."""
        self._write({"row": number, **answer} for number, answer in answers.items())
        self.answers |= answers

    def remove(self) -> None:
        """Delete the file: the output holds all of it now."""
        self._stream.close()
        self.path.unlink(missing_ok=True)

    def _write(self, objects: Iterable[Answer]) -> None:
        text = "".join(json.dumps(each, allow_nan=False) + "\n" for each in objects)
        self._stream.write(text.encode("ascii"))
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def _read(self, identity: str) -> int:
        """Read the answers, and return how many bytes of the file are whole lines of this one."""
        if not self.path.is_file():
            return 0
        whole = 0
        for place, line in enumerate(self.path.read_bytes().splitlines(keepends=True)):
            try:
                found = json.loads(line) if line.endswith(b"\n") else None
            except ValueError:
                found = None
            if not isinstance(found, dict):
                break
            if place == 0:
                if found.get("identity") != identity:
                    return 0
            else:
                self.answers[int(found.pop("row"))] = found
            whole += len(line)
        return whole
