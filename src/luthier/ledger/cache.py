"""Responses of paid endpoints, cached so that a resumed comparison does not pay twice.

The key covers the model, the rendered prompt, the decoding *and the seed*: a request with another
seed is sent again, so that repeats stay independent draws. Once a seed has a sampled response, it
keeps it.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

from luthier.ledger.provenance import now
from luthier.ledger.storage_errors import BUSY_SECONDS, storage_errors
from luthier.serialization import digest


def default_cache_path() -> Path:
    """`$LUTHIER_CACHE`, or the user's cache folder."""
    named = os.environ.get("LUTHIER_CACHE")
    if named:
        return Path(named) / "responses.sqlite"
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "luthier" / "responses.sqlite"


def response_key(*, model: str, prompt: Any, decoding: Any, seed: int) -> str:
    """The key of one response. `prompt` and `decoding` are records or plain values; `model` must
    tell servers apart too (it holds the URL and the model's name there)."""
    return digest({"model": model, "prompt": prompt, "decoding": decoding, "seed": seed})


class ResponseCache:
    """Text by key, in one SQLite file that several processes may share."""

    def __init__(self, path: str | Path | None = None) -> None:
        """Open or create the file; StorageError when that fails."""
        self.path = Path(path) if path is not None else default_cache_path()
        with storage_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS responses "
                "(key TEXT PRIMARY KEY, value TEXT NOT NULL, time TEXT NOT NULL)"
            )

    def get(self, key: str) -> str | None:
        """The response, None when there is none."""
        with storage_errors(self.path):
            row = self._db.execute("SELECT value FROM responses WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def put(self, key: str, value: str) -> None:
        """Store a response; one that is there already stays."""
        with storage_errors(self.path):
            self._db.execute(
                "INSERT INTO responses VALUES (?,?,?) ON CONFLICT (key) DO NOTHING",
                (key, value, now()),
            )

    def close(self) -> None:
        """Close the file."""
        self._db.close()
