"""One run at a time may change an index in Qdrant, which has no locks of its own."""

from __future__ import annotations

import os
import socket
import time
import uuid
from typing import Any

from luthier.errors import StorageError

LEASE = str(uuid.UUID(int=2))
LEASE_SECONDS = 120.0


class Lease:
    """One writer at a time, by a point that says who writes and until when.

    Qdrant has no way to compare and set, so a lease is read back after it was written, and once
    more before publishing.
    """

    def __init__(self, client: Any, collection: str, where: str) -> None:
        self._client, self._collection, self._where = client, collection, where
        self._me = f"{socket.gethostname()}/{os.getpid()}/{uuid.uuid4().hex[:8]}"
        self._renewed = 0.0

    def take(self) -> None:
        """StorageError while another run that may be alive holds it."""
        found = self._held()
        if found and found["until"] > time.time() and not _is_dead(found["by"]):
            raise self._taken(found["by"])
        self.renew()
        time.sleep(0.1)
        self.check()

    def renew(self) -> None:
        """Called while work goes on."""
        from qdrant_client import models

        if time.time() - self._renewed > LEASE_SECONDS / 4:
            self._renewed = time.time()
            until = self._renewed + LEASE_SECONDS
            load = {"by": self._me, "until": until}
            point = models.PointStruct(id=LEASE, payload=load, vector={})
            self._client.upsert(self._collection, [point], wait=True)

    def check(self) -> None:
        """StorageError where another run took it."""
        found = self._held()
        if found and found["by"] != self._me:
            raise self._taken(found["by"])

    def give(self) -> None:
        """Let the next run in; a server that is gone keeps the lease until it is over."""
        try:
            if (self._held() or {}).get("by") == self._me:
                self._client.delete(self._collection, [LEASE], wait=True)
        except Exception:  # the first error is the one to tell
            return

    def _held(self) -> dict[str, Any] | None:
        points = self._client.retrieve(self._collection, [LEASE])
        return dict(points[0].payload) if points else None

    def _taken(self, by: str) -> StorageError:
        host, process, _ = by.split("/")
        return StorageError(
            f"{self._where} is in use by another luthier (process {process} on {host})",
            next_step="Wait for it to end, or choose another --into.",
        )


def _is_dead(by: str) -> bool:
    import psutil

    host, process, _ = by.split("/")
    return host == socket.gethostname() and not psutil.pid_exists(int(process))
