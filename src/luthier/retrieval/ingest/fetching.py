"""Documents behind addresses: fetched from the server that was named, within bounds."""

from __future__ import annotations

import time
import urllib.request
from typing import Any

from luthier.retrieval.ingest.document import LARGEST_BYTES, UnreadableError
from luthier.safety.hosts import same_server

SECONDS = 30.0  # the longest silence
MOST_SECONDS = 120.0  # for the whole of a document
BLOCK = 1 << 16


def fetched(address: str) -> bytes:
    """What the server sends. UnreadableError where it sends too much, for too long, or its callers
    on to another server; OSError where it fails."""
    opener = urllib.request.build_opener(_StayingRedirects(address))
    begun, size, blocks = time.monotonic(), 0, []
    with opener.open(address, timeout=SECONDS) as answer:
        while block := answer.read1(BLOCK):
            size += len(block)
            blocks.append(block)
            if size > LARGEST_BYTES:
                raise UnreadableError(f"it has more than {LARGEST_BYTES / 1e6:,.0f} MB")
            if time.monotonic() - begun > MOST_SECONDS:
                raise UnreadableError(f"it was not here after {MOST_SECONDS:.0f} seconds")
    return b"".join(blocks)


class _StayingRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects on one server only: a document must not lead into a private network."""

    def __init__(self, address: str) -> None:
        self.address = address

    def redirect_request(
        self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: Any
    ) -> Any:
        if not same_server(self.address, newurl):
            raise UnreadableError(f"it has moved to another server: name {newurl} itself")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
