"""The openai client of an address, with bounds: redirects stay on the server, a reply has a largest
size and a longest time."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from luthier.errors import BackendError, ModelError, from_extra
from luthier.safety.hosts import same_server

if TYPE_CHECKING:
    import openai

MOST_REPLY_BYTES = 64_000_000
MOST_REPLY_SECONDS = 600.0
READ_SECONDS = 120.0  # the longest silence


def open_guarded_client(url: str) -> openai.OpenAI:
    """The client. The key comes from LUTHIER_API_KEY or OPENAI_API_KEY.

    Azure's deployments have the version of the API in the address, and take the key in a header of
    their own. ModelError where the library is not installed.
    """
    with from_extra(
        "endpoint", "An endpoint needs the openai client, which is not installed", kind=ModelError
    ):
        import openai
    key = os.environ.get("LUTHIER_API_KEY") or os.environ.get("OPENAI_API_KEY") or "none"
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    azure = "api-version" in query or (parts.hostname or "").endswith(".azure.com")
    return openai.OpenAI(
        base_url=parts._replace(query="").geturl(),
        api_key=key,
        default_query=query or None,
        default_headers={"api-key": key} if azure else None,
        max_retries=3,
        timeout=READ_SECONDS,
        http_client=_http_client(url),
    )


def luthier_error(error: BaseException | None) -> BackendError | None:
    """The error of ours that a library wrapped in its own; None where there is none."""
    seen = 0
    while error is not None and seen < 10:
        if isinstance(error, BackendError):
            return error
        error, seen = error.__cause__ or error.__context__, seen + 1
    return None


def _http_client(url: str) -> Any:
    """An HTTP client that checks each request, redirected ones too, and bounds each reply."""
    import openai

    class ClosingClient(openai.DefaultHttpxClient):  # type: ignore[misc]
        """Closes its connections when nobody uses it any more."""

        def __del__(self) -> None:
            with suppress(Exception):
                self.close()

    def stays(request: Any) -> None:
        if not same_server(url, str(request.url)):
            raise BackendError(
                f"{url} sends its callers on to {request.url.copy_with(query=None)}, another "
                "server, which gets neither the key nor a text",
                next_step="If you trust that server, give its own address.",
            )

    def bound(response: Any) -> None:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise BackendError(
                f"{url} sent a compressed reply, and none was asked for",
                next_step="Its unpacked size is unknown: switch compression off at the server.",
            )
        response.stream = _bounded(response.stream, url)

    return ClosingClient(
        timeout=READ_SECONDS,
        headers={"Accept-Encoding": "identity"},
        event_hooks={"request": [stays], "response": [bound]},
    )


def _bounded(stream: Any, url: str) -> Any:
    """The same stream of bytes; BackendError where it is too long in size or time."""
    import httpx2

    class BoundedStream(httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            begun, size = time.monotonic(), 0
            for block in stream:
                size += len(block)
                if size > MOST_REPLY_BYTES:
                    raise _too_much(url, f"more than {MOST_REPLY_BYTES / 1e6:,.0f} MB")
                if time.monotonic() - begun > MOST_REPLY_SECONDS:
                    raise _too_much(url, f"more than {MOST_REPLY_SECONDS:,.0f} seconds")
                yield block

        def close(self) -> None:
            stream.close()

    return BoundedStream()


def _too_much(url: str, what: str) -> BackendError:
    return BackendError(
        f"{url} sent a reply of {what}",
        next_step="No reply needs that much: look at the server's log.",
    )
