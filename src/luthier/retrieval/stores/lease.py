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

    Qdrant cannot compare and set. A lease is therefore read back after it was written, and again
    before publishing.
    """

    def __init__(self, client: Any, collection: str, address: str) -> None:
        self._client, self._collection, self._address = client, collection, address
        self._owner = f"{socket.gethostname()}/{os.getpid()}/{uuid.uuid4().hex[:8]}"
        self._renewed = 0.0

    def acquire(self) -> None:
        """Take the lease. StorageError while another run that may be alive has it."""
        found = self._current()
        if found and found["until"] > time.time() and not _is_dead(found["by"]):
            raise self._in_use(found["by"])
        self.renew()
        time.sleep(0.1)
        self.check()

    def renew(self) -> None:
        """Extend the lease; called while the work goes on."""
        from qdrant_client import models

        if time.time() - self._renewed > LEASE_SECONDS / 4:
            self._renewed = time.time()
            until = self._renewed + LEASE_SECONDS
            load = {"by": self._owner, "until": until}
            point = models.PointStruct(id=LEASE, payload=load, vector={})
            self._client.upsert(self._collection, [point], wait=True)

    def check(self) -> None:
        """StorageError where another run has taken the lease."""
        found = self._current()
        if found and found["by"] != self._owner:
            raise self._in_use(found["by"])

    def release(self) -> None:
        """Free the lease for the next run; where the server is gone it expires by itself."""
        try:
            if (self._current() or {}).get("by") == self._owner:
                self._client.delete(self._collection, [LEASE], wait=True)
        except Exception:  # the first error is the one to report
            return

    def _current(self) -> dict[str, Any] | None:
        points = self._client.retrieve(self._collection, [LEASE])
        return dict(points[0].payload) if points else None

    def _in_use(self, by: str) -> StorageError:
        host, process, _ = by.split("/")
        return StorageError(
            f"{self._address} is in use by another luthier (process {process} on {host})",
            next_step="Wait for it to end, or choose another --into.",
        )


def _is_dead(by: str) -> bool:
    import psutil

    host, process, _ = by.split("/")
    return host == socket.gethostname() and not psutil.pid_exists(int(process))
