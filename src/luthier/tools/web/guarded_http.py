"""HTTP requests for tools: to addresses that the guard lets through, with limits on size, time and
redirects."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import httpcore

from luthier.tools.secret_texts import redacted
from luthier.tools.toolbox import ToolFailure, seconds_left
from luthier.tools.web.address_guard import SCHEMES, GuardedBackend

MOST_BYTES = 2_000_000
MOST_REDIRECTS = 5
AGENT = "luthier"
_CHARSET = re.compile(r"charset=[\"']?([\w.-]+)", re.I)
_REDIRECTS = {301, 302, 303, 307, 308}


@dataclass(frozen=True, slots=True)
class WebReply:
    """A reply: its status, type, text ("" for what is no text), and where it came from."""

    url: str
    status: int
    kind: str
    text: str
    binary: int = 0  # bytes of what is no text
    cut: bool = False


class GuardedHttp:
    """Makes requests. `trusted` are (host, port) pairs that the user named, and that may be
    private. `same_host`: a redirect to another host is not followed."""

    def __init__(self, trusted: Iterable[tuple[str, int]] = (), *, same_host: bool = False) -> None:
        self._pool = httpcore.ConnectionPool(
            network_backend=GuardedBackend(trusted), max_connections=16, retries=0
        )
        self._same_host = same_host

    def ask(
        self, method: str, url: str, *,
        headers: Mapping[str, str] | None = None, content: bytes | None = None,
    ) -> WebReply:  # fmt: skip
        """The reply to a request. ToolFailure, in words, where there is none.

        Redirects of GET and HEAD are followed, each checked like the first address; headers with
        credentials stay with the host that they are for.
        """
        sent = {"user-agent": AGENT, "accept-encoding": "identity", **(headers or {})}
        first = check_url(url)
        for _ in range(MOST_REDIRECTS + 1):
            reply, location = self._once(method, url, sent, content)
            if location is None:
                return reply
            if method not in ("GET", "HEAD"):
                raise ToolFailure(
                    f"The server answers with a redirect to {redacted(location)}, which is not "
                    "followed for a call that changes things."
                )
            url = urljoin(url, location)
            if check_url(url) != first:
                if self._same_host:
                    raise ToolFailure(f"A redirect to another host, {url}, is not followed.")
                sent = {k: v for k, v in sent.items() if k in ("user-agent", "accept-encoding")}
        raise ToolFailure(f"More than {MOST_REDIRECTS} redirects were not followed.")

    def _once(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes | None
    ) -> tuple[WebReply, str | None]:
        left = min(20.0, seconds_left())
        timeouts = {"connect": left, "read": left, "write": left, "pool": left}
        try:
            with self._pool.stream(
                method, url, headers=list(headers.items()), content=content,
                extensions={"timeout": timeouts},
            ) as response:  # fmt: skip
                found = {k.decode("latin-1").lower(): v.decode("latin-1")
                         for k, v in response.headers}  # fmt: skip
                location = found.get("location")
                if response.status in _REDIRECTS and location:
                    return WebReply(url, response.status, "", ""), location
                body, cut = bytearray(), False
                for chunk in response.iter_stream():
                    body += chunk
                    if len(body) > MOST_BYTES:
                        cut = True
                        break
        except (httpcore.TimeoutException, TimeoutError) as error:
            raise ToolFailure(f"{_host(url)} did not answer in time.") from error
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.ProxyError) as error:
            raise ToolFailure(f"{_host(url)} cannot be reached: {type(error).__name__}") from error
        except (httpcore.UnsupportedProtocol, ValueError, UnicodeError) as error:
            raise ToolFailure(f"{redacted(url)[:200]} is no address.") from error
        return _reply(url, response.status, found, bytes(body[:MOST_BYTES]), cut), None

    def close(self) -> None:
        """Close what is open."""
        self._pool.close()


def check_url(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of an address. ToolFailure for what is none of the web."""
    try:
        parts = urlsplit(url)
        port = parts.port or SCHEMES.get(parts.scheme, 0)
    except ValueError as error:
        raise ToolFailure(f"{url[:200]!r} is no address.") from error
    if parts.scheme not in SCHEMES or not parts.hostname:
        raise ToolFailure(f"{redacted(url)[:200]!r} is no address of the web (http, https).")
    if parts.username or parts.password:
        raise ToolFailure("An address with a name or a password in it is not asked.")
    return parts.scheme, parts.hostname.lower(), port


def _reply(url: str, status: int, headers: Mapping[str, str], body: bytes, cut: bool) -> WebReply:
    kind = headers.get("content-type", "").split(";")[0].strip().lower()
    is_text = kind.startswith("text/") or kind.endswith(("json", "xml")) or not kind
    if not is_text or b"\0" in body[:1000]:
        return WebReply(url, status, kind, "", binary=len(body), cut=cut)
    named = _CHARSET.search(headers.get("content-type", "")) or _CHARSET.search(
        body[:2000].decode("latin-1")
    )
    try:
        text = body.decode(named.group(1) if named else "utf-8", "replace")
    except LookupError:
        text = body.decode("utf-8", "replace")
    return WebReply(url, status, kind, text, cut=cut)


def _host(url: str) -> str:
    return urlsplit(url).hostname or "The server"
