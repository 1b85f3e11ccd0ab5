"""What guards the pages in a browser: headers, the names the server answers to, and the origin of
what is sent."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
# A page that sets one of these itself keeps it.
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
LOOPBACK = ("127.0.0.1", "localhost", "::1")
UNSAFE = ("POST", "PUT", "PATCH", "DELETE")


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    return host in LOOPBACK or host.startswith("127.")


def wrong_host(host: str, allowed: Collection[str] | None) -> bool:
    """Whether a request names a host that this server is not: another name that leads here is how
    a page elsewhere reads a server on localhost. None allows any."""
    if allowed is None:
        return False
    name = urlsplit(f"//{host}").hostname or ""
    return name not in allowed


def foreign_origin(method: str, host: str, headers: dict[str, str]) -> bool:
    """Whether a page of another origin sends what changes something (CSRF). Programs send no
    origin."""
    if method not in UNSAFE:
        return False
    if headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        return True
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != host
